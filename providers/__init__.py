"""How to talk to one outside system; each file owns its library and knows no other."""
