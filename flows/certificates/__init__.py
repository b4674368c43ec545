"""Certificates of hosts: ordered, proven, shown, renewed in time."""
