"""Publish records at DNS hosts that have an API of their own, through dns-lexicon.

The library has no time limits and no transactions: every call runs in a thread of its own that is left behind when it
is late and begins no write from then on; a publication that breaks off in the middle is Unconfirmed, to be read and
completed by the next run.
"""

import asyncio
import importlib
import json
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeVar, cast

from pydantic import SecretStr

from providers.dns_host import Changed, RecordChange, RRset
from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed

T = TypeVar("T")

PROVIDER = "dns_host"
STRING_BYTES = 255  # RFC 1035 3.3: one character-string
# Hosts whose API takes text as a zone file writes it: strings of at most 255 bytes, in quotes.
QUOTES_TEXT = frozenset({"cloudflare", "powerdns"})
# Where an MX record's preference is a field of its own, which the library neither sends nor reads.
PREFERENCE_APART = frozenset({"cloudflare"})
# Where the library takes an alias' target for a name inside the zone: one that is not would be published wrong.
ALIASES_STAY_INSIDE = frozenset({"powerdns"})
# Where a record has no id of its own: the library makes one of its content and reads it wrong when a slash is in it.
NAMELESS = frozenset({"powerdns"})
NAMED_TARGET = frozenset({"CNAME", "MX", "NS", "PTR", "SRV"})
REFUSED, MISSING, TOO_MANY, SERVER_ERROR = frozenset({401, 403}), 404, 429, 500
# Of the time limit: what is sent by then has as long as is left to arrive before the caller lets go of its lock.
LAST_WRITE = 2 / 3

Record = Mapping[str, Any]


class Patience:
    """Whether a thread may begin another write: not shortly before its time is up, nor once nobody waits for it."""

    def __init__(self, seconds: float) -> None:
        """From now on."""
        self._until = monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether whoever waits may be gone, and another actor at the zone, before a write sent now has arrived."""
        return monotonic() >= self._until

    def end(self) -> None:
        """Nobody waits any more."""
        self._until = 0.0


class Lexicon:
    """One zone at one DNS host that dns-lexicon knows."""

    def __init__(
        self,
        name: str,
        zone: str,
        secret: SecretStr,
        options: Mapping[str, str] | None = None,
        *,
        timeout_seconds: float = 90,
    ) -> None:
        """`name` is the library's; `secret` a token, or a JSON object of its secret options. `options` are public."""
        self._name = name
        self._zone = zone.rstrip(".").lower()
        self._secret = secret
        self._options = dict(options or {})
        self._timeout_seconds = timeout_seconds

    def zone_of(self, name: str) -> str | None:
        """Tell the zone if it holds the name."""
        plain = _plain(name)
        return f"{self._zone}." if plain == self._zone or plain.endswith(f".{self._zone}") else None

    async def read(self, name: str, rtype: str) -> RRset | None:
        """List what the host's API holds. Unavailable when it cannot say; Unauthorized when it will not."""
        return await self._at_host("read", lambda operations: self._set(operations, name, rtype))

    async def serial(self) -> int:
        """A number that moves when a record does; these APIs tell no serial."""

        def work(operations: Any) -> int:
            found = sorted((r["type"], _plain(r["name"]), str(r["content"]), int(r["ttl"] or 0)) for r in
                           _records(operations, None, None) if r["type"] != "SOA")  # fmt: skip
            return zlib.crc32(json.dumps(found).encode())

        return await self._at_host("serial", work)

    async def publish(self, changes: Sequence[RecordChange]) -> None:
        """Make the changes one by one, each read back, after all expectations were seen to hold.

        Changed or Rejected: nothing was done. Unconfirmed: some may be; what is done already is found right by the next
        reading, so the same publication may be planned and made again.
        """
        for change in changes:
            if self.zone_of(change.name) is None:
                raise self._failed(Rejected, "publish", f"{change.name} is outside the zone")
            if (
                change.rtype == "CNAME"
                and self._name in ALIASES_STAY_INSIDE
                and not all(map(self.zone_of, change.values))
            ):
                raise self._failed(
                    Rejected, "publish", f"{change.name}: no alias to another zone can be published here"
                )
        done: list[RecordChange] = []
        written: list[str] = []
        patience = Patience(LAST_WRITE * self._timeout_seconds)

        def work(operations: Any) -> None:
            for change in changes:
                self._expect(operations, change)
            for change in changes:
                self._bring_about(change, patience, written)
                done.append(change)

        try:
            await self._at_host("publish", work)
        except ProviderError as error:
            if isinstance(error, Rejected) and not written:
                raise
            words = f"{len(done)} of {len(changes)} record sets are published; then: {error.detail}"
            raise Unconfirmed(PROVIDER, "publish", words, retry_after_seconds=error.retry_after_seconds) from error
        finally:
            patience.end()

    def _set(self, operations: Any, name: str, rtype: str) -> RRset | None:
        found = _records(operations, rtype, _plain(name))
        if not found:
            return None
        values = sorted(self._value(rtype, str(record["content"])) for record in found)
        return RRset(tuple(values), min(int(record["ttl"] or 0) for record in found))

    def _expect(self, operations: Any, change: RecordChange) -> None:
        """What was read must still stand, and an alias must not be in the way: its owner holds nothing else."""
        if change.rtype != "CNAME" and change.values and self._set(operations, change.name, "CNAME"):
            raise self._failed(Changed, "publish", f"{change.name} is an alias")
        if change.expected is None:
            return
        now = self._set(operations, change.name, change.rtype)
        if not _same(now.values if now else (), change.expected, change.rtype):
            raise self._failed(Changed, "publish", f"{change.name} {change.rtype} is no longer what was read")

    def _bring_about(self, change: RecordChange, patience: Patience, written: list[str]) -> None:
        """Take a record in place of another where there is one: a second SPF record is worse than an old one."""
        name, rtype = _plain(change.name), change.rtype
        writer = self._provider(change.ttl)
        records = _records(writer, rtype, name)
        standing = {_compared(self._value(rtype, str(r["content"])), rtype): r for r in records}
        wanted = {_compared(value, rtype): value for value in change.values}
        new = [value for key, value in wanted.items() if key not in standing]
        old = [record for key, record in standing.items() if key not in wanted]
        nameless = self._name in NAMELESS
        paired = 0 if nameless else min(len(old), len(new))
        writes: list[Callable[[], Any]] = [
            *(partial(writer.update_record, record["id"], rtype, name, self._content(rtype, value))
              for record, value in zip(old[:paired], new, strict=False)),
            *(partial(writer.delete_record, None if nameless else record["id"], rtype, name, record["content"])
              for record in old[paired:]),
            *(partial(writer.create_record, rtype, name, self._content(rtype, value)) for value in new[paired:]),
        ]  # fmt: skip
        for write in writes:
            if patience.is_over:
                raise self._failed(Unconfirmed, "publish", "there was no time left for another write")
            write()
            written.append(name)
        now = self._set(self._provider(), name, rtype)
        if not _same(now.values if now else (), change.values, rtype):
            raise self._failed(Unconfirmed, "publish", f"{name} {rtype} does not read back as it was written")

    def _content(self, rtype: str, value: str) -> str:
        """A value as this host's API wants it."""
        if rtype == "TXT":
            return _quoted(value) if self._name in QUOTES_TEXT else value
        return f"{value.rstrip('.')}." if rtype in NAMED_TARGET else value

    def _value(self, rtype: str, content: str) -> str:
        """What an API answers, as the rest of the program writes it; the library may have cut the outer quotes."""
        if rtype == "TXT":
            inside = content.removeprefix('"').removesuffix('"')
            return inside.replace('" "', "").replace('\\"', '"').replace("\\\\", "\\")
        return f"{content.rstrip('.')}." if rtype in NAMED_TARGET else content

    def _provider(self, ttl: int = 300) -> Any:
        """A session at the host. Not the library's Client: that one asks the Internet for the zone, which we know."""
        from lexicon.config import ConfigResolver  # noqa: PLC0415  half a second, and only where a tenant needs it

        try:
            module: Any = importlib.import_module(f"lexicon._private.providers.{self._name}")
        except ImportError as error:
            raise self._failed(Rejected, "open", f"dns-lexicon knows no host {self._name!r}") from error
        own = {**self._options, **self._secrets()}
        config = ConfigResolver().with_dict(
            {"provider_name": self._name, "domain": self._zone, "ttl": ttl, self._name: own}
        )
        provider = module.Provider(config)
        if self._name in PREFERENCE_APART:
            provider._request = _with_preferences(provider._request)  # noqa: SLF001  the one door all its calls go by
        provider.authenticate()
        return provider

    def _secrets(self) -> Mapping[str, str]:
        plain = self._secret.get_secret_value()
        if not plain.lstrip().startswith("{"):
            return {"auth_token": plain}
        try:
            return {str(name): str(value) for name, value in json.loads(plain).items()}
        except ValueError:
            raise self._failed(Rejected, "open", "the credential is no JSON object") from None

    async def _at_host(self, action: str, work: Callable[[Any], T]) -> T:
        """Open a session and work with it, in a thread of its own, for as long as anybody waits."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await _in_own_thread(lambda: self._guarded(action, work))
        except TimeoutError as error:
            kind = Unconfirmed if action == "publish" else Unavailable
            raise self._failed(kind, action, f"no end within {self._timeout_seconds:g} s") from error

    def _guarded(self, action: str, work: Callable[[Any], T]) -> T:
        from lexicon.exceptions import AuthenticationError  # noqa: PLC0415  see _provider
        from requests import HTTPError, RequestException  # noqa: PLC0415  likewise

        try:
            return work(self._provider())
        except ProviderError:
            raise
        except AuthenticationError as error:
            raise self._failed(Unauthorized, action, "the host refuses the credential, or has no such zone") from error
        except HTTPError as error:
            raise self._answered(action, error.response) from error
        except RequestException as error:
            # Nothing of its text is told: it may quote an address with a token in it.
            raise self._failed(Unavailable, action, type(error).__name__) from error
        except Exception as error:  # the library lets out whatever a strange answer breaks
            raise self._failed(Unavailable, action, f"an answer that cannot be read: {type(error).__name__}") from error

    def _answered(self, action: str, response: Any) -> ProviderError:
        status = int(response.status_code)
        words = f"HTTP {status}{_codes(response)}"
        if status in REFUSED:
            return self._failed(Unauthorized, action, words)
        if status == TOO_MANY:
            pause = str(response.headers.get("Retry-After", ""))
            return Unavailable(PROVIDER, action, self._words(words),
                               retry_after_seconds=float(pause) if pause.isdigit() else None)  # fmt: skip
        if status >= SERVER_ERROR:
            return self._failed(Unavailable, action, words)
        return self._failed(Rejected, action, f"{words}: the host has no such zone" if status == MISSING else words)

    def _failed(self, kind: type[ProviderError], action: str, words: str) -> ProviderError:
        return kind(PROVIDER, action, self._words(words))

    def _words(self, words: str) -> str:
        return f"{self._zone} at {self._name}: {words}"


def _records(operations: Any, rtype: str | None, name: str | None) -> list[Record]:
    """The library's list; not every host filters, so it is filtered again."""
    found: list[Record] = operations.list_records(rtype, name, None)
    return [
        record
        for record in found
        if (rtype is None or record["type"] == rtype) and (name is None or _plain(str(record["name"])) == name)
    ]


def _with_preferences(request: Callable[..., Any]) -> Callable[..., Any]:
    """The library's request, made to send and read an MX record as a zone file writes it: preference, then target."""

    def asked(action: str, url: str, data: dict[str, Any] | None = None, query_params: Any = None) -> Any:
        if data and data.get("type") == "MX":
            preference, _, target = str(data["content"]).partition(" ")
            data = {**data, "priority": int(preference), "content": target}
        payload: dict[str, Any] = request(action, url, data, query_params)
        if isinstance(payload["result"], list):
            for record in cast("list[dict[str, Any]]", payload["result"]):
                if record.get("type") == "MX":
                    record["content"] = f"{record['priority']} {record['content']}"
        return payload

    return asked


def _codes(response: Any) -> str:
    """The host's own numbers for what is wrong, where it tells them; its sentences may quote what was sent."""
    try:
        found = [int(error["code"]) for error in response.json()["errors"]]
    except (ValueError, TypeError, KeyError):
        return ""
    return f", error {', '.join(map(str, found))}" if found else ""


def _same(one: Sequence[str], other: Sequence[str], rtype: str) -> bool:
    return sorted(_compared(value, rtype) for value in one) == sorted(_compared(value, rtype) for value in other)


def _compared(value: str, rtype: str) -> str:
    return value if rtype == "TXT" else value.rstrip(".").lower()


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


def _quoted(value: str) -> str:
    raw = value.replace("\\", "\\\\").replace('"', '\\"')
    parts = [raw[start : start + STRING_BYTES] for start in range(0, len(raw), STRING_BYTES)] or [""]
    return " ".join(f'"{part}"' for part in parts)


async def _in_own_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a thread that does not keep the process alive when nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(put: Callable[[], None]) -> None:
        if not outcome.done():
            put()

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001  told to whoever waits
            failure = error
            _told(loop, lambda: settle(lambda: outcome.set_exception(failure)))
        else:
            _told(loop, lambda: settle(lambda: outcome.set_result(value)))

    threading.Thread(target=run, name="dns-lexicon", daemon=True).start()
    return await outcome


def _told(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
