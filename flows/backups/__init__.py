"""Dumps, and the restores that prove them."""
