"""Datagrams that leave together: each arrives whole and by itself, whatever the kernel makes of them."""

import socket

import pytest

from providers.resolver.bursts import MOST, can_segment, send_all

FITS_NOT = 3200  # octets; so many of them are more than one call takes


@pytest.mark.parametrize("length", [1, 40, FITS_NOT])
def test_each_datagram_arrives_by_itself(length) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as to, socket.socket(type=socket.SOCK_DGRAM) as by:
        to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * MOST * FITS_NOT)
        to.bind(("127.0.0.1", 0))
        to.settimeout(30)
        by.connect(to.getsockname())
        sent = [bytes((number,)) * (length + number % 3) for number in range(MOST)]
        send_all(by, sent)
        assert sorted(to.recv(2 * FITS_NOT) for _ in sent) == sorted(sent)
        to.settimeout(0)
        with pytest.raises(BlockingIOError):
            to.recv(1)


def test_many_alike_leave_by_few_calls() -> None:
    """More than one call takes, of which none may be lost; segmentation is known wherever we test."""
    assert can_segment()
    with socket.socket(type=socket.SOCK_DGRAM) as to, socket.socket(type=socket.SOCK_DGRAM) as by:
        to.bind(("127.0.0.1", 0))
        to.settimeout(30)
        by.connect(to.getsockname())
        send_all(by, [number.to_bytes(2) for number in range(2 * MOST + 1)])
        assert {int.from_bytes(to.recv(9)) for _ in range(2 * MOST + 1)} == set(range(2 * MOST + 1))


def test_nobody_at_the_other_end_is_no_error() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as gone, socket.socket(type=socket.SOCK_DGRAM) as by:
        gone.bind(("127.0.0.1", 0))
        by.connect(gone.getsockname())
        gone.close()
        for _ in range(3):
            send_all(by, [b"a", b"b", b"cc"])
