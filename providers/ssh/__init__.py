"""Run scripts on a server over SSH: one connection per `connect`, one command per `run`, a time limit on each.

`kept` takes the connection that an earlier one left open instead, where it can.

Transport only. A script and its input travel through the command's standard input, so neither is ever seen among
process arguments, and a script that arrives incomplete is not run at all.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from pydantic import SecretStr

from providers.errors import Rejected, Unavailable
from providers.ssh.exchange import Output
from providers.ssh.kept import Door, Kept
from providers.ssh.link import HostKeyChanged, Link, Login

__all__ = ["HostKeyChanged", "Output", "Shell", "Ssh"]

BANNER = b"SSH-2.0-"
BANNER_BYTES = 4096  # RFC 4253 4.2: lines may stand before the banner; nobody needs longer ones
CONNECT_STAGES = 3  # TCP, key exchange, login: each has the connect time-out to itself
ANSWER_SECONDS = 2.0  # for a login that waited to show that it still lives; a new one takes a tenth of a second
WATCHDOG_GRACE_SECONDS = 2.0  # the working thread keeps its own time; the watchdog is for a thread that hangs

T = TypeVar("T")


class Ssh:
    """Opens shells on servers inside the allowed networks; without a list, on globally routed addresses only."""

    def __init__(
        self,
        *,
        allowed_networks: Sequence[IPv4Network] | None,
        executor: ThreadPoolExecutor,
        connect_timeout_seconds: float = 10,
        kept_seconds: float = 10,
    ) -> None:
        """Threads are taken from `executor`, one for each connection that is just being used.

        `kept_seconds` is how long a login of `kept` waits for the next one.
        """
        self._networks = None if allowed_networks is None else tuple(allowed_networks)
        self._executor = executor
        self._connect_timeout_seconds = connect_timeout_seconds
        self._kept = Kept(self._closing, kept_seconds)
        self._ending: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def connect(
        self,
        address: IPv4Address,
        *,
        user: str,
        port: int = 22,
        password: SecretStr | None = None,
        private_key: SecretStr | None = None,
        host_key: str | None,
    ) -> AsyncGenerator["Shell", None]:
        """Log in with exactly one credential; `host_key` None is first contact, to be pinned from `Shell.host_key`.

        Unavailable: refused, silent or lost. Unauthorized: the server refused the credential. HostKeyChanged before
        any credential is sent. Rejected, without a packet, for an address outside the allowed networks.
        """
        login = Login(user, password, private_key)
        link = await self._opened(address, port, login, host_key)
        try:
            yield Shell(self, link)
        finally:
            # Shielded: a cancelled step must not leave its connection behind.
            await asyncio.shield(self._closing(link))

    @asynccontextmanager
    async def kept(
        self, address: IPv4Address, *, user: str, port: int = 22, private_key: SecretStr, host_key: str
    ) -> AsyncGenerator["Shell", None]:
        """The same with a key, over the login that the last such block left open if it still answers; else a new one.

        It is this block's alone. It waits some seconds for the next one, unless this block ends in an error.
        """
        door = Door(address, port, user, private_key, host_key)
        link = self._kept.take(door)
        if link is not None and not await self._answers(link):
            link = None
        if link is None:
            link = await self._opened(address, port, Login(user, None, private_key), host_key)
        try:
            yield Shell(self, link)
        except BaseException:
            await asyncio.shield(self._closing(link))
            raise
        self._kept.keep(door, link)

    async def close(self) -> None:
        """End the logins that wait for another use."""
        self._kept.drop_all()
        await asyncio.gather(*self._ending)

    async def banner(self, address: IPv4Address, port: int = 22, *, timeout_seconds: float) -> bool:
        """Whether an SSH server greets at this address within the time; False for any silence or refusal."""
        self._admit(address, "banner")
        try:
            async with asyncio.timeout(timeout_seconds):
                return await _greets(str(address), port)
        except (OSError, ValueError):  # a TimeoutError is an OSError; ValueError is a line without an end
            return False

    async def _opened(self, address: IPv4Address, port: int, login: Login, host_key: str | None) -> Link:
        self._admit(address, "connect")
        link = Link(f"{address}:{port}", self._connect_timeout_seconds)
        limit = CONNECT_STAGES * self._connect_timeout_seconds + WATCHDOG_GRACE_SECONDS
        try:
            await self._in_thread(lambda: link.open(address, port, login, host_key), link, limit)
        except BaseException:
            await asyncio.shield(self._closing(link))
            raise
        return link

    async def _answers(self, link: Link) -> bool:
        """Whether a login that waited can still be used; one that cannot is closed."""
        try:
            await self._in_thread(lambda: link.prove(ANSWER_SECONDS), link, ANSWER_SECONDS + WATCHDOG_GRACE_SECONDS)
        except Unavailable:
            self._closing(link)
            return False
        except BaseException:
            self._closing(link)
            raise
        return True

    def _closing(self, link: Link) -> "asyncio.Future[None]":
        ending = asyncio.get_running_loop().run_in_executor(self._executor, link.close)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    def _admit(self, address: IPv4Address, action: str) -> None:
        networks = self._networks
        if not (address.is_global if networks is None else any(address in network for network in networks)):
            raise Rejected("ssh", action, f"{address} is outside the allowed networks")

    async def _in_thread(self, work: Callable[[], T], link: Link, limit_seconds: float) -> T:
        """Run blocking work; cut the line when it is late or nobody waits any more, and let the work say how it ended.

        The time limit starts with the work: waiting for a free thread is not the server's fault.
        """
        loop, started = asyncio.get_running_loop(), asyncio.Event()

        def begin() -> T:
            loop.call_soon_threadsafe(started.set)
            return work()

        job = loop.run_in_executor(self._executor, begin)
        job.add_done_callback(_note_end)
        try:
            await started.wait()
            await asyncio.wait({job}, timeout=limit_seconds)
        finally:
            if not job.done():
                link.cut()
        return await job


class Shell:
    """An open login on one server; `host_key` is what the server showed, as `type base64`."""

    def __init__(self, ssh: Ssh, link: Link) -> None:
        """Made by `Ssh` alone."""
        self.host_key = link.host_key
        self._ssh = ssh
        self._link = link

    async def run(self, script: str, *, stdin: bytes = b"", timeout_seconds: float) -> Output:
        """Run one POSIX shell script with `stdin` as its input; any exit status is an answer.

        Unavailable: nothing was sent. Unconfirmed: lost, late, or too much output after the command was sent; it may
        still be running. Rejected: the server refuses to run commands.
        """
        if "\0" in script:
            raise ValueError("a script cannot hold a zero byte")
        return await self._ssh._in_thread(  # noqa: SLF001 (one room, two doors)  # pyright: ignore[reportPrivateUsage]
            lambda: self._link.run(script.encode(), stdin, timeout_seconds),
            self._link,
            timeout_seconds + WATCHDOG_GRACE_SECONDS,
        )


def _note_end(job: "asyncio.Future[T]") -> None:
    # A cancelled caller never asks how the work ended; looking here keeps asyncio from complaining.
    if not job.cancelled():
        job.exception()


async def _greets(address: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(address, port, limit=BANNER_BYTES)
    try:
        while line := await reader.readline():
            if line.startswith(BANNER):
                return True
        return False
    finally:
        writer.close()
