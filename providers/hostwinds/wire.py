"""One POST to Hostwinds and what its answer means for the caller: again, look first, or fix something."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import NoReturn, Self
from urllib.parse import quote, quote_plus

import httpx
from pydantic import SecretStr

from providers.errors import NotFound, ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.hostwinds import assumptions, envelope
from providers.hostwinds.limiter import Limiter
from providers.hostwinds.types import Item, Kind, Reply

log = logging.getLogger(__name__)

PROVIDER = "hostwinds"
MESSAGE_LIMIT = 160  # characters of their prose in a detail
FIELD = str | list[str]


@dataclass(frozen=True, slots=True)
class _Call:
    """One request: what it asks, and how a lost answer is to be called."""

    action: str
    changes_state: bool
    money: bool = False
    read_timeout_seconds: float = assumptions.READ_TIMEOUT_SECONDS

    def lost(self, detail: str, *, retry_after_seconds: float | None = None) -> ProviderError:
        """The request was sent and its answer is worthless."""
        kind = Unconfirmed if self.changes_state else Unavailable
        return kind(PROVIDER, self.action, detail, retry_after_seconds=retry_after_seconds)


class Wire:
    """Owns the key, the connection, the pace and the error table; knows nothing of servers."""

    def __init__(
        self,
        *,
        api_key: SecretStr,
        base_url: str,
        limiter: Limiter,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.oddities: Counter[str] = Counter()
        self._key = api_key
        self._url = base_url
        self._limiter = limiter
        self._connect_timeout_seconds = connect_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._transport = transport
        self._http = self._client()

    async def __aenter__(self) -> Self:
        """Ready at once."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the kept connection."""
        await self._http.aclose()

    async def ask(self, action: str, **fields: FIELD) -> Reply:
        """Put a question; the reply is a payload. Raises Unavailable, Rejected or a kind of it."""
        call = _Call(action, changes_state=False, read_timeout_seconds=self._read_timeout_seconds)
        reply = await self._send(call, fields)
        if reply.kind is not Kind.PAYLOAD:
            raise call.lost("an answer without a payload")
        if reply.bare:
            self.oddities["bare reply"] += 1
        return reply

    async def change(
        self, action: str, *, money: bool = False, read_timeout_seconds: float | None = None, **fields: FIELD
    ) -> tuple[Item, ...]:
        """Ask for a change; its accepted items. Accepted is not done: the caller reads back.

        `money` opens a connection of its own, so that no half-closed one can swallow the answer.
        """
        timeout_seconds = read_timeout_seconds or self._read_timeout_seconds
        call = _Call(action, changes_state=True, money=money, read_timeout_seconds=timeout_seconds)
        async with self._limiter.turn():
            return (await self._send(call, fields)).items

    def redacted(self, text: str) -> str:
        """A text without the key, in whichever form it travels."""
        key = self._key.get_secret_value()
        for form in {key, quote(key), quote(key, safe=""), quote_plus(key)} if key else ():
            text = text.replace(form, "[redacted]")
        return text

    async def _send(self, call: _Call, fields: dict[str, FIELD]) -> Reply:
        await self._limiter.wait()
        response = await self._post(call, fields)
        self._judge_status(call, response)
        reply = envelope.parse(response.content, changes_state=call.changes_state)
        if reply.kind is Kind.REFUSED:
            self._refuse(call, reply.items)
        if response.is_client_error:
            raise call.lost(f"HTTP {response.status_code} without a reason")
        if reply.kind is Kind.PARTIAL:
            self.oddities["partial reply"] += 1
            raise call.lost(f"accepted and refused in one reply: {self._told(reply.items)}")
        if reply.kind is Kind.UNRECOGNISED:
            self.oddities["unrecognised reply"] += 1
            raise call.lost(f"HTTP {response.status_code}, unreadable: {reply.reason}")
        return reply

    async def _post(self, call: _Call, fields: dict[str, FIELD]) -> httpx.Response:
        form = {"action": call.action, "API": self._key.get_secret_value(), **fields}
        timeout = httpx.Timeout(call.read_timeout_seconds, connect=self._connect_timeout_seconds)
        try:
            # httpx counts the time between two bytes; a server that drips must not hold us for ever either.
            async with self._connection(call) as http, asyncio.timeout(self._whole_seconds(call)):
                return await http.post(self._url, data=form, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            _strip(error, self._url)
            raise Unavailable(PROVIDER, call.action, f"no connection ({type(error).__name__})") from error
        except httpx.RequestError as error:
            _strip(error, self._url)
            raise call.lost(f"answer lost ({type(error).__name__})") from error
        except TimeoutError as error:
            raise call.lost("answer lost (too slow)") from error

    @asynccontextmanager
    async def _connection(self, call: _Call) -> AsyncGenerator[httpx.AsyncClient]:
        async with AsyncExitStack() as stack:
            fresh = call.money and self._transport is None
            yield await stack.enter_async_context(self._client()) if fresh else self._http

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport or _transport(), follow_redirects=False)

    def _whole_seconds(self, call: _Call) -> float:
        return 2 * (self._connect_timeout_seconds + call.read_timeout_seconds)

    def _judge_status(self, call: _Call, response: httpx.Response) -> None:
        status = response.status_code
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            edge = " by the edge, before the API" if "html" in response.headers.get("content-type", "") else ""
            raise Unauthorized(PROVIDER, call.action, f"HTTP {status}{edge}; {assumptions.UNAUTHORIZED_ADVICE}")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self._slow_down(call, response)
        if not (response.is_success or response.is_client_error):  # a redirect is never followed
            raise call.lost(f"HTTP {status}", retry_after_seconds=_retry_after(response))

    def _slow_down(self, call: _Call, response: httpx.Response) -> NoReturn:
        # HW-A20: refused before it was processed; where money is at stake we look all the same.
        kind = Unconfirmed if call.money else Unavailable
        raise kind(PROVIDER, call.action, "HTTP 429, too many requests", retry_after_seconds=_retry_after(response))

    def _refuse(self, call: _Call, items: tuple[Item, ...]) -> NoReturn:
        messages = " ".join(item.message for item in items).lower()
        if assumptions.REFUSED_TEXT in messages:
            raise Unauthorized(PROVIDER, call.action, assumptions.UNAUTHORIZED_ADVICE)
        kind = NotFound if assumptions.UNKNOWN_ID_TEXT in messages else Rejected
        raise kind(PROVIDER, call.action, self._told(items))

    def _told(self, items: tuple[Item, ...]) -> str:
        return "; ".join(told(item, self.redacted) for item in items)[:MESSAGE_LIMIT]


def _transport() -> httpx.AsyncHTTPTransport:
    # 0.0.0.0 forces IPv4: a key is bound to IPv4 addresses, over IPv6 it is refused.
    return httpx.AsyncHTTPTransport(verify=_trust(), local_address="0.0.0.0", retries=0)  # noqa: S104 - a source, no listener


@cache
def _trust() -> ssl.SSLContext:
    """Read the certificate store once: clients come and go with each step and with each order."""
    return httpx.create_ssl_context()


def told(item: Item, redact: Callable[[str], str]) -> str:
    """An item in one short line, for people."""
    word = "ok" if item.succeeded else "error"
    code = f" ({item.code})" if item.code else ""
    return redact(f"{item.title or 'untitled'}: {word}, {item.message}{code}")


def _strip(error: httpx.RequestError, url: str) -> None:
    """Take the request off a library's exception: its body holds the key."""
    error.request = httpx.Request("POST", url)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds the server asks for; the form with a date is ignored."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
