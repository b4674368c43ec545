"""Blocklists: tested before they are believed, asked, and their listings kept as runs."""
