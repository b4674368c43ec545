"""Hostwinds as it is on the wire: its API, its delays, its charges, and its failures on demand."""
