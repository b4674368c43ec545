"""Publish records at a domain's DNS host; first way: RFC 2136 updates, signed with TSIG, over TCP."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rdtypes.txtbase
import dns.rrset
import dns.tsig
import dns.update
from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed

PROVIDER = "dns_host"
STRING_BYTES = 255  # RFC 1035 3.3: one character-string
ALGORITHMS = frozenset({"hmac-sha256", "hmac-sha384", "hmac-sha512"})
HOLDS_TEXT = frozenset({"TXT", "SPF"})


class Changed(Rejected):
    """A record is no longer what it was when it was read; read again and decide again."""


@dataclass(frozen=True, slots=True)
class RRset:
    """All records of one name and type; text values unquoted and joined, others in presentation form, sorted."""

    values: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What one name and type shall hold from now on; no values deletes it.

    `expected` are the values that were read before: () for nothing there, None to replace whatever stands there.
    """

    name: str
    rtype: str
    values: tuple[str, ...]
    ttl: int
    expected: tuple[str, ...] | None = None


class DnsHost(Protocol):
    """What flows ask of any DNS host."""

    def zone_of(self, name: str) -> str | None:
        """Tell the zone that holds this name here; None when it is not ours to change."""
        ...

    async def read(self, name: str, rtype: str) -> RRset | None:
        """Read what the host holds now, past every cache; None when there is no such record."""
        ...

    async def publish(self, changes: Sequence[RecordChange]) -> None:
        """Make all changes or none; Changed when an expectation no longer holds."""
        ...

    async def serial(self) -> int:
        """Read the zone's serial: it moves when, and only when, a record changed."""
        ...


class Rfc2136:
    """One zone at one authoritative server that takes signed updates."""

    def __init__(
        self,
        server: str,
        zone: str,
        key_name: str,
        key_secret: SecretStr,
        algorithm: str = "hmac-sha256",
        port: int = 53,
        *,
        timeout_seconds: float = 10,
    ) -> None:
        """`server` is an address, `key_secret` the TSIG key in base64. ValueError for a bad name or algorithm."""
        if algorithm not in ALGORITHMS:
            raise ValueError(f"not a TSIG algorithm that is safe to use: {algorithm!r}")
        self._server = server
        self._port = port
        self._zone = _name(zone)
        self._key_name = _name(key_name)
        self._key_secret = key_secret
        self._algorithm = _name(algorithm)
        self._timeout_seconds = timeout_seconds

    def zone_of(self, name: str) -> str | None:
        """Tell the zone if it holds the name."""
        return self._zone.to_text() if _name(name).is_subdomain(self._zone) else None

    async def read(self, name: str, rtype: str) -> RRset | None:
        """Ask the server itself, signed. Unavailable when it cannot say; Unauthorized when it will not."""
        rrset = await self._lookup("read", _name(name), rtype)
        if rrset is None:
            return None
        return RRset(tuple(sorted(map(_value, cast("Iterable[dns.rdata.Rdata]", rrset)))), rrset.ttl)

    async def serial(self) -> int:
        """Read the serial of the zone's SOA record."""
        rrset = await self._lookup("serial", self._zone, "SOA")
        if rrset is None:
            raise self._failed(Rejected, "serial", "the server does not serve this zone")
        return cast("dns.rdtypes.ANY.SOA.SOA", rrset[0]).serial

    async def publish(self, changes: Sequence[RecordChange]) -> None:
        """Send all changes in one message, which the server carries out whole or not at all (RFC 2136 3.4).

        Unauthorized: key unknown, wrong or not allowed here. Changed: an expectation failed. Unavailable: nothing was
        sent. Unconfirmed: sent, and no believable answer.
        """
        if not changes:
            return
        update = dns.update.UpdateMessage(self._zone)
        freed = {_name(change.name) for change in changes if change.rtype == "CNAME" and not change.values}
        for change in changes:
            self._add(update, change)
            _keep_clear_of_aliases(update, change, freed)
        reply = await self._exchange("publish", update, lost=Unconfirmed)
        if reply.rcode() in {dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.YXDOMAIN, dns.rcode.NXDOMAIN}:
            raise self._failed(Changed, "publish", "a record is no longer what was read, or an alias is in the way")
        self._accept("publish", reply, lost=Unconfirmed)

    def _add(self, update: dns.update.UpdateMessage, change: RecordChange) -> None:
        name = _name(change.name)
        if self.zone_of(change.name) is None:
            raise self._failed(Rejected, "publish", f"{change.name} is outside the zone")
        kind = _type(change.rtype)
        if change.expected is not None:
            _expect(update, name, kind, change.expected)
        if not change.values:
            update.delete(name, kind)
            return
        rrset = dns.rrset.from_rdata_list(name, change.ttl, [_rdata(kind, value) for value in change.values])
        update.replace(name, rrset.to_rdataset())

    async def _lookup(self, action: str, name: dns.name.Name, rtype: str) -> dns.rrset.RRset | None:
        kind = _type(rtype)
        query = dns.message.make_query(name, kind, flags=0)
        reply = await self._exchange(action, query, lost=Unavailable)
        if reply.rcode() != dns.rcode.NXDOMAIN:
            self._accept(action, reply, lost=Unavailable)
        if not reply.flags & dns.flags.AA:
            raise self._failed(Unavailable, action, f"the server is no authority for {name}")
        return next((rrset for rrset in reply.answer if rrset.name == name and rrset.rdtype == kind), None)

    def _accept(self, action: str, reply: dns.message.Message, *, lost: type[ProviderError]) -> None:
        rcode = reply.rcode()
        word = dns.rcode.to_text(rcode)
        if rcode in {dns.rcode.REFUSED, dns.rcode.NOTAUTH}:
            raise self._failed(Unauthorized, action, word)
        if rcode == dns.rcode.SERVFAIL:
            raise self._failed(lost, action, word)
        if rcode != dns.rcode.NOERROR:
            raise self._failed(Rejected, action, word)

    async def _exchange(
        self, action: str, query: dns.message.Message, *, lost: type[ProviderError]
    ) -> dns.message.Message:
        """Send one signed message over its own connection; an unsigned refusal is taken, an unsigned yes is not."""
        query.use_tsig(self._key(), algorithm=self._algorithm)
        wire = query.to_wire()
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                reader, writer = await asyncio.open_connection(self._server, self._port)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        except (OSError, EOFError) as error:
            kind = Unavailable if writer is None else lost
            raise self._failed(kind, action, type(error).__name__) from error
        finally:
            if writer is not None:
                writer.close()
        return self._opened(action, query, answer, lost)

    def _opened(
        self, action: str, query: dns.message.Message, answer: bytes, lost: type[ProviderError]
    ) -> dns.message.Message:
        try:
            reply = dns.message.from_wire(answer, keyring=query.keyring, request_mac=query.mac)
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime) as error:
            raise self._failed(Rejected, action, "our clock and the server's differ too much") from error
        except dns.tsig.PeerError as error:
            raise self._failed(Unauthorized, action, f"the server refuses our key: {type(error).__name__}") from error
        except (dns.exception.DNSException, ValueError) as error:
            return self._unsigned(action, answer, lost, error)
        if not query.is_response(reply):
            raise self._failed(lost, action, "the answer belongs to another question")
        return reply

    def _unsigned(
        self, action: str, answer: bytes, lost: type[ProviderError], reason: Exception
    ) -> dns.message.Message:
        # A server that does not know our key cannot sign its refusal (RFC 8945 5.3.2).
        with contextlib.suppress(dns.exception.DNSException, ValueError):
            reply = dns.message.from_wire(answer, keyring=False)
            if reply.rcode() != dns.rcode.NOERROR:
                return reply
        raise self._failed(lost, action, f"the answer cannot be believed: {type(reason).__name__}") from reason

    def _key(self) -> dns.tsig.Key:
        # Made for each message: the library shows a key's secret in its repr.
        try:
            return dns.tsig.Key(self._key_name, self._key_secret.get_secret_value(), self._algorithm)
        except ValueError:
            raise self._failed(Rejected, "sign", "the TSIG secret is not base64") from None

    def _failed(self, kind: type[ProviderError], action: str, words: str) -> ProviderError:
        return kind(PROVIDER, action, f"{self._zone.to_text()} at {self._server}: {words}")


def _expect(
    update: dns.update.UpdateMessage, name: dns.name.Name, kind: dns.rdatatype.RdataType, values: Sequence[str]
) -> None:
    if values:
        update.present(name, *(_rdata(kind, value) for value in values))
    else:
        update.absent(name, kind)


def _keep_clear_of_aliases(
    update: dns.update.UpdateMessage, change: RecordChange, freed: Collection[dns.name.Name]
) -> None:
    """Make the server refuse what it would otherwise skip in silence: data beside an alias (RFC 2136 3.4.2.2)."""
    name = _name(change.name)
    if not change.values or name in freed:
        return
    if change.rtype != "CNAME":
        update.absent(name, dns.rdatatype.CNAME)
    elif change.expected == ():
        update.absent(name)


def _rdata(kind: dns.rdatatype.RdataType, value: str) -> dns.rdata.Rdata:
    text = _quoted(value) if dns.rdatatype.to_text(kind) in HOLDS_TEXT else value
    try:
        # Names in values are absolute, with or without a final dot: never completed with the zone.
        return dns.rdata.from_text(dns.rdataclass.IN, kind, text, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise Rejected(PROVIDER, "publish", f"not a {dns.rdatatype.to_text(kind)} value: {value}") from error


def _quoted(value: str) -> str:
    """Cut a text into strings of at most 255 bytes, in presentation form."""
    raw = value.encode()
    parts = [raw[start : start + STRING_BYTES] for start in range(0, len(raw), STRING_BYTES)] or [b""]
    return " ".join('"' + "".join(f"\\{byte:03d}" for byte in part) + '"' for part in parts)


def _value(record: dns.rdata.Rdata) -> str:
    if isinstance(record, dns.rdtypes.txtbase.TXTBase):
        return b"".join(record.strings).decode(errors="backslashreplace")
    return record.to_text()


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"not a DNS name: {text!r}") from error


def _type(text: str) -> dns.rdatatype.RdataType:
    try:
        return dns.rdatatype.from_text(text)
    except dns.exception.DNSException as error:
        raise ValueError(f"not a record type: {text!r}") from error
