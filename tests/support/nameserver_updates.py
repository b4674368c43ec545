"""A loopback server that checks TSIG and takes updates with its own code, or answers them as badly as asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update

Manner = Literal[
    "silent",
    "drop",
    "half",
    "garbage",
    "unsigned_yes",
    "wrong_id",
    "forged",
    "unsigned_refused",
    "BADKEY",
    "BADSIG",
    "BADTIME",
    "REFUSED",
    "NOTAUTH",
    "SERVFAIL",
    "NOTZONE",
    "FORMERR",
    "YXRRSET",
    "NXRRSET",
    "NOERROR",
    "not_authoritative",
]


@dataclass
class UpdateServer:
    """Answers every message in one manner and keeps what it was sent, checked against the key."""

    manner: Manner
    secret: str
    received: list[dns.message.Message] = field(default_factory=list)

    def reply(self, wire: bytes) -> bytes | None:
        keyring = dns.tsigkeyring.from_text({"writer.": self.secret})
        try:
            message = dns.message.from_wire(wire, keyring=keyring)
        except dns.tsig.BadSignature:
            message = dns.message.from_wire(wire, keyring=False)
            return tsig_refusal(message, 16)
        assert message.had_tsig
        self.received.append(message)
        if self.manner in {"silent", "drop", "half", "garbage"}:
            return {"garbage": b"\xff" * 20, "half": b"\0"}.get(self.manner)
        if self.manner.startswith("BAD"):
            return tsig_refusal(message, {"BADSIG": 16, "BADKEY": 17, "BADTIME": 18}[self.manner])
        return self.answer(message)

    def answer(self, message: dns.message.Message) -> bytes:
        answer = dns.message.make_response(message)
        answer.flags |= dns.flags.AA
        if self.manner == "not_authoritative":
            answer.flags &= ~dns.flags.AA
        if self.manner in dns.rcode.Rcode.__members__:
            answer.set_rcode(dns.rcode.from_text(self.manner))
        if self.manner == "wrong_id":
            answer.id ^= 1
        if self.manner.startswith("unsigned"):
            answer.keyring = answer.tsig = None
            answer.set_rcode(dns.rcode.REFUSED if self.manner == "unsigned_refused" else dns.rcode.NOERROR)
        wire = answer.to_wire()
        return wire[:-20] + bytes(20) if self.manner == "forged" else wire


def tsig_refusal(message: dns.message.Message, error: int) -> bytes:
    answer = dns.message.make_response(message)
    answer.set_rcode(dns.rcode.NOTAUTH)
    answer.use_tsig(dns.tsigkeyring.from_text({"writer.": "AAAA"}), "writer.", tsig_error=error)
    return answer.to_wire()


@asynccontextmanager
async def taking_updates(manner: Manner, secret: str) -> AsyncIterator[tuple[UpdateServer, int]]:
    server = UpdateServer(manner, secret)
    released = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            length = int.from_bytes(await reader.readexactly(2), "big")
            answer = server.reply(await reader.readexactly(length))
            if manner == "silent":
                await released.wait()
            if answer is not None:
                writer.write(answer if manner == "half" else len(answer).to_bytes(2, "big") + answer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        released.set()
        listener.close()
