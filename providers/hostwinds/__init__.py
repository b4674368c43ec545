"""Servers, addresses and reverse DNS at Hostwinds; everything particular to that vendor stays in this folder."""

from providers.hostwinds.client import Hostwinds
from providers.hostwinds.types import FirewallProfile, FirewallRule

__all__ = ["FirewallProfile", "FirewallRule", "Hostwinds"]
