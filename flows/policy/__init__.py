"""What should be true: pure rules over plain values, standard library only."""
