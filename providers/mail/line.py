"""One TLS connection used by a blocking library in a thread, which can be cut from outside that thread."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Line:
    """The socket of one conversation; `dial` and `secure` block, `cut` may be called from anywhere."""

    def __init__(self, host: str, port: int, ca_file: Path | None, timeout_seconds: float) -> None:
        """`host` is the name the certificate must bear; without `ca_file` the system's authorities are trusted."""
        self._host = host
        self._port = port
        self._ca_file = ca_file
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None
        self._unwanted = False

    def dial(self, address: IPv4Address | None, source: IPv4Address | None) -> socket.socket:
        """Connect in clear, to `address` instead of what the name resolves to when it is given."""
        target = (str(address or self._host), self._port)
        bound = None if source is None else (str(source), 0)
        self._socket = socket.create_connection(target, self._timeout_seconds, bound)
        if self._unwanted:
            raise ConnectionAbortedError("given up before it began")
        return self._socket

    def secure(self, plain: socket.socket) -> ssl.SSLSocket:
        """Start TLS 1.2 or later, checking certificate and name."""
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        secured = context.wrap_socket(plain, server_hostname=self._host)
        self._socket = secured
        return secured

    def cut(self) -> None:
        """End the conversation from outside, so that the working thread fails at what it was doing."""
        self._unwanted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that one takes the TLS state from under the reading thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket, from the working thread."""
        if self._socket is not None:
            self._socket.close()


async def in_thread(work: Callable[[], T], line: Line, limit_seconds: float) -> T:
    """Run blocking work; cut the line when it is late or nobody waits any more, and let the work say how it ended."""
    job = asyncio.ensure_future(asyncio.to_thread(work))
    job.add_done_callback(_note_end)
    try:
        await asyncio.wait({job}, timeout=limit_seconds)
    finally:
        if not job.done():
            line.cut()
    return await job


def _note_end(job: "asyncio.Future[T]") -> None:
    # A cancelled caller never asks how the work ended; looking here keeps asyncio from complaining.
    if not job.cancelled():
        job.exception()
