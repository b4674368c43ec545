"""A world to practise in: everything is real but the Internet."""
