import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unavailable, Unconfirmed
from providers.hostwinds import Hostwinds
from providers.hostwinds.limiter import Limiter
from providers.hostwinds.wire import Wire
from providers.vps import ServerSpec

SPEC = ServerSpec(plan="52", image="image-1", region="12")
TOKEN = "pm-test-t1-01j0"
ORDERED = b'[{"result":"success","action":"Invoice Paid"},{"result":"success","action":"Add Instance"}]'
EMPTY = b'{"success":[]}'

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """An HTTP server on a real socket that does with each request what it was told."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[tuple[int, bytes]] = []  # number of the connection, and the request
        self._connections = 0
        self._open: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._more: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/cloud/api.php"

    async def listen_too(self, address: str) -> None:
        """The same port at another address."""
        self._more = await asyncio.start_server(self._serve, address, int(self.url.split(":")[2].split("/")[0]))

    async def stop(self) -> None:
        for server in filter(None, (self._server, self._more)):
            server.close()
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self._open.append(writer)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                self.requests.append((number, head + await reader.readexactly(int(length.split(b":")[1]))))
                await self.behaviour(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def says(body: bytes, *, status: str = "200 OK", cut: int = 0, headers: bytes = b"") -> Behaviour:
    """Answer, announcing `cut` bytes more than are sent; then close if something is missing."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body) + cut}\r\n"
        writer.write(head.encode() + headers + b"\r\n" + body)
        await writer.drain()
        if cut:
            writer.close()

    return answer


async def drops(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hangs(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.sleep(0)


async def drips(writer: asyncio.StreamWriter) -> None:
    """One byte at a time, each well within the read time-out, and never an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def talking_to(behaviour: Behaviour, **knobs: float) -> AsyncIterator[tuple[Loopback, Hostwinds]]:
    server = Loopback(behaviour)
    await server.start()
    try:
        async with Hostwinds(
            api_key=SecretStr("CANARY-key"),
            base_url=server.url,
            rate_per_second=10_000,
            burst=100,
            connect_timeout_seconds=knobs.get("connect", 5),
            read_timeout_seconds=knobs.get("read", 5),
            create_timeout_seconds=knobs.get("create", 5),
            sandbox=True,
        ) as client:
            yield server, client
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("behaviour", "read", "order"),
    [
        (drops, Unavailable, Unconfirmed),
        (hangs, Unavailable, Unconfirmed),
        (drips, Unavailable, Unconfirmed),
        (says(ORDERED, cut=9), Unavailable, Unconfirmed),
        (says(ORDERED[:20]), Unavailable, Unconfirmed),
        (says(b"", status="502 Bad Gateway"), Unavailable, Unconfirmed),
        (says(ORDERED, headers=b"Content-Encoding: gzip\r\n"), Unavailable, Unconfirmed),
        (says(ORDERED, status="302 Found", headers=b"Location: /elsewhere\r\n"), Unavailable, Unconfirmed),
    ],
    ids=["drops", "hangs", "drips", "cut", "truncated", "502", "no-gzip", "redirect"],
)
async def test_a_lost_answer_is_sent_for_once(
    behaviour: Behaviour, read: type[ProviderError], order: type[ProviderError]
) -> None:
    knobs = {"connect": 0.2, "read": 0.2, "create": 0.2}
    async with talking_to(behaviour, **knobs) as (server, client):
        with pytest.raises(ProviderError) as asked:
            await client.list_servers()
        with pytest.raises(ProviderError) as ordered:
            await client.create_server(SPEC, TOKEN)
        assert (type(asked.value), type(ordered.value)) == (read, order)
        assert len(server.requests) == 2


async def test_a_closed_port_means_that_nothing_was_sent() -> None:
    async with talking_to(says(EMPTY)) as (server, client):
        await server.stop()
        with pytest.raises(Unavailable):
            await client.create_server(SPEC, TOKEN)
        assert server.requests == []


async def test_an_order_has_a_connection_of_its_own() -> None:
    async with talking_to(says(ORDERED)) as (server, client):
        server.behaviour = says(EMPTY)
        await client.list_servers()
        await client.list_servers()
        server.behaviour = says(ORDERED)
        assert (await client.create_server(SPEC, TOKEN)).complete
        server.behaviour = says(EMPTY)
        await client.list_servers()
        assert [number for number, _ in server.requests] == [1, 1, 2, 1]


async def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    async with talking_to(says(EMPTY)) as (server, client):
        await client.list_servers()
        for writer in server._open:
            writer.close()
            await writer.wait_closed()
        await client.list_servers()
        assert [number for number, _ in server.requests] == [1, 2]


async def test_the_request_is_a_form_that_carries_the_key_in_its_body_only() -> None:
    async with talking_to(says(EMPTY)) as (server, client):
        await client.list_servers()
        head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /cloud/api.php HTTP/1.1")
        assert b"CANARY" not in head
        assert body == b"action=get_instances&API=CANARY-key"


async def test_no_log_line_at_any_level_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with talking_to(drops) as (_, client):
        with pytest.raises(Unconfirmed):
            await client.set_ptr("900001", IPv4Address("192.0.2.10"), "mail.acme.example")
    assert caplog.records
    assert "CANARY" not in caplog.text


async def test_requests_leave_by_ipv4_only() -> None:
    async with talking_to(says(EMPTY)) as (server, _):
        await server.listen_too("::1")
        async with Wire(
            api_key=SecretStr("k"),
            base_url=server.url.replace("127.0.0.1", "[::1]"),
            limiter=Limiter(1000, 10),
            connect_timeout_seconds=5,
            read_timeout_seconds=5,
            transport=None,
        ) as wire:
            with pytest.raises(Unavailable):
                await wire.ask("get_instances")
        assert server.requests == []


async def test_changes_wait_for_one_another() -> None:
    inside = 0
    most = 0

    async def slow(writer: asyncio.StreamWriter) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.02)
        inside -= 1
        await says(b'[{"result":"success"}]')(writer)

    async with talking_to(slow) as (server, client):
        calls = [client.set_ptr("1", IPv4Address("192.0.2.10"), f"h{n}.example") for n in range(4)]
        await asyncio.gather(*calls)
        assert len(server.requests) == 4
    assert most == 1


async def test_a_refused_change_frees_the_turn() -> None:
    async with talking_to(says(b'[{"result":"error","message":"no"}]')) as (_, client):
        for _attempt in range(2):
            with pytest.raises(Rejected):
                await client.set_ptr("1", IPv4Address("192.0.2.10"), "h.example")
