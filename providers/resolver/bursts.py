"""Many datagrams by few system calls: the kernel cuts one text into datagrams of equal length (UDP segmentation)."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from struct import Struct
from typing import Final

UDP_SEGMENT: Final = 103  # linux/udp.h; Python has no name for it
MOST: Final = 64  # datagrams of one call, by linux/udp.h
LENGTH: Final = Struct("=H")


def send_all(to: socket.socket, datagrams: Iterable[bytes]) -> None:
    """Send datagrams to a connected peer; what the kernel does not take now is lost, as datagrams are."""
    by_length: dict[int, list[bytes]] = {}
    for datagram in datagrams:
        by_length.setdefault(len(datagram), []).append(datagram)
    for length, alike in by_length.items():
        for start in range(0, len(alike), MOST):
            _send(to, length, alike[start : start + MOST])


def _send(to: socket.socket, length: int, alike: list[bytes]) -> None:
    if len(alike) > 1 and can_segment():
        # Refused as a whole, for instance by a network card that cannot: then each goes alone.
        with suppress(OSError):
            to.sendmsg([b"".join(alike)], [(socket.IPPROTO_UDP, UDP_SEGMENT, LENGTH.pack(length))])
            return
    for datagram in alike:
        with suppress(OSError):
            to.send(datagram)


@cache
def can_segment() -> bool:
    """Whether this kernel knows of segmentation; one that does not would send everything as one datagram."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
