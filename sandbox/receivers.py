"""Receiving mailbox providers: they authenticate, judge, file, and on command refuse, complain and bounce."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from sandbox.hosts import HostPlan, hash_password
from sandbox.manners import rules_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from email.message import EmailMessage
    from pathlib import Path

    from sandbox.certificates import Authority
    from sandbox.hosts import HostBackend
    from sandbox.network import Network
    from sandbox.zones import Record

RULES = "/var/lib/receiver/rules.json"
RENDERED = (
    "etc/postfix/main.cf",
    "etc/opendkim.conf",
    "etc/opendmarc.conf",
    "etc/postfix-policyd-spf-python/policyd-spf.conf",
)
PEOPLE = ("carol", "dave", "erin", "frank")  # mailboxes of every receiver; carol's is the one of proofs
ROLES = ("postmaster", "abuse", "fbl")  # addresses that reach carol


class NoSuchMessage(LookupError):
    """The receiver holds no message of this id."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What makes one receiver different from another."""

    host: str
    domain: str
    addresses: tuple[IPv4Address, ...]  # one per MX name: mx, mx2, mx3
    password: str = field(repr=False)
    lenient: bool = False  # files into Junk what fails DMARC, instead of refusing it

    @property
    def mx_names(self) -> tuple[str, ...]:
        """Names under which it takes mail, the most preferred first."""
        return tuple(f"mx{number or ''}.{self.domain}" for number in (0, *range(2, len(self.addresses) + 1)))

    @property
    def imap_name(self) -> str:
        """Name of its IMAP server."""
        return f"imap.{self.domain}"

    def records(self) -> list[Record]:
        """List what its zone publishes."""
        published: list[Record] = [("@", "TXT", "v=spf1 mx -all"), ("_dmarc", "TXT", "v=DMARC1; p=reject")]
        for preference, (name, address) in enumerate(zip(self.mx_names, self.addresses, strict=True), start=1):
            published += [("@", "MX", f"{preference * 10} {name}."), (name.partition(".")[0], "A", str(address))]
        return [*published, ("imap", "A", str(self.addresses[0]))]

    def pointers(self) -> list[Record]:
        """List its reverse records."""
        return [
            (str(address).rpartition(".")[2], "PTR", f"{name}.")
            for name, address in zip(self.mx_names, self.addresses, strict=True)
        ]

    def described(self, ca_file: Path) -> dict[str, Any]:
        """Describe it for whoever sends a proof to it and reads it back."""
        return {
            "domain": self.domain,
            "mx": self.mx_names[0],
            "address": str(self.addresses[0]),
            "imap_host": self.imap_name,
            "mailbox": f"{PEOPLE[0]}@{self.domain}",
            "password": self.password,
            "authserv_id": self.mx_names[0],
            "ca_file": str(ca_file),
        }


BIGMAIL = ("bigmail", "bigmail.example", ("203.0.113.25", "203.0.113.27", "203.0.113.28"))
LIVEMAIL = ("livemail", "livemail.example", ("203.0.113.29",))
REFUSAL = "550 5.7.1 mail from [$client_address] is not taken here: the address stands on our own list"


def bigmail(password: str) -> Provider:
    """Make the strict receiver: DMARC's p=reject is obeyed, a listed address is refused at RCPT."""
    host, domain, addresses = BIGMAIL
    return Provider(host, domain, tuple(map(IPv4Address, addresses)), password)


def livemail(password: str) -> Provider:
    """Make the moody receiver: what fails DMARC lands in Junk, and a listed address hears a text of its own."""
    host, domain, addresses = LIVEMAIL
    return Provider(host, domain, tuple(map(IPv4Address, addresses)), password, lenient=True)


KINDS: Mapping[str, Callable[[str], Provider]] = {"bigmail": bigmail, "livemail": livemail}


def providers(passwords: Mapping[str, str]) -> tuple[Provider, ...]:
    """Make the receivers that have a password, the strict one first: a world may be raised with fewer."""
    return tuple(kind(passwords[name]) for name, kind in KINDS.items() if name in passwords)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message in a mailbox: the file it lies in, and its bytes."""

    path: str
    raw: bytes = field(repr=False)

    @property
    def parsed(self) -> EmailMessage:
        """The message as Python's modern e-mail object."""
        return message_from_bytes(self.raw, policy=policy.default)


class Receiver:
    """One receiving provider of a running world."""

    def __init__(self, hosts: HostBackend, network: Network, provider: Provider) -> None:
        """Take the back end that boots it and what it is."""
        self.hosts, self.network, self.provider = hosts, network, provider

    def make(self, authority: Authority) -> None:
        """Boot the receiver, configured before its first boot, and wait until it greets on port 25."""
        provider = self.provider
        issued = authority.issue([*provider.mx_names, provider.imap_name])
        hashed = hash_password(provider.password)

        def prepare(tree: Path) -> None:
            for name in RENDERED:
                file = tree / name
                file.write_text(file.read_text().replace("@DOMAIN@", provider.domain))
            people = [f"{person}@{provider.domain}" for person in PEOPLE]
            roles = [f"{role}@{provider.domain} {people[0]}\n" for role in ROLES]
            (tree / "etc/dovecot/users").write_text(
                "".join(f"{person}:{{SHA512-CRYPT}}{hashed}::::::\n" for person in people)
            )
            (tree / "etc/postfix/mailboxes").write_text("".join(f"{person} x\n" for person in people))
            (tree / "etc/postfix/aliases-here").write_text("".join(roles))
            if provider.lenient:
                soften(tree)
            folder = tree / "etc/ssl/world"
            folder.mkdir()
            (folder / "host.crt").write_text(issued.certificate)
            (folder / "host.key").touch(0o600)
            (folder / "host.key").write_text(issued.key)

        self.hosts.create(
            HostPlan(provider.host, provider.addresses, "receiver", provider.mx_names[0], prepare=prepare)
        )
        self.network.await_banner(provider.addresses[0], 25, b"220 ")
        self.network.await_banner(provider.addresses[0], 143, b"* OK")

    def rules(self, rules: Sequence[dict[str, Any]]) -> None:
        """Put rules into force, for the next recipient on; see receiver_policy.py for what a rule is."""
        self._run(
            f"cat > {RULES}.draft && chown receiver: {RULES}.draft && mv {RULES}.draft {RULES}",
            json.dumps(list(rules)).encode(),
        )

    def clear(self) -> None:
        """Drop all rules."""
        self.rules([])

    def behave(self, manner: str, **wish: Any) -> None:
        """Treat mail in one of the ways of manners.py, and no other, for the next recipient on."""
        self.rules(rules_for(manner, **wish))

    def messages(self, mailbox: str | None = None, folder: str = "INBOX") -> list[Delivered]:
        """Return what lies in a folder of a mailbox, the oldest first."""
        local = (mailbox or PEOPLE[0]).partition("@")[0]
        maildir = f"/var/vmail/{self.provider.domain}/{local}" + ("" if folder == "INBOX" else f"/.{folder}")
        listing = self._run(f"ls -1tr {shlex.quote(maildir)}/new/* {shlex.quote(maildir)}/cur/* 2>/dev/null || :")
        paths = listing.decode().splitlines()
        return [Delivered(path, self._run(f"cat {shlex.quote(path)}")) for path in paths]

    def complain(self, message_id: str, to: str | None = None) -> None:
        """Send a spam complaint (ARF) about a delivered message to its envelope sender, or to `to`."""
        self._report("complaint", message_id, to, "", "", f"fbl@{self.provider.domain}")

    def late_bounce(
        self, message_id: str, status: str = "5.7.1", text: str = "550 5.7.1 filtered after acceptance"
    ) -> None:
        """Send a delivery status notification about a message that was accepted."""
        self._report("bounce", message_id, None, status, text, "")

    def _report(self, kind: str, message_id: str, to: str | None, status: str, text: str, envelope_sender: str) -> None:
        found, mailbox = self._find(message_id)
        sender = to or str(found.parsed.get("Return-Path", "")).strip("<>")
        source = _source_address(found.parsed)
        words = ["/usr/local/bin/receiver_report.py", kind, self.provider.domain, mailbox, source, status, text]
        envelope = shlex.quote(envelope_sender or "<>")
        self._run(f"{shlex.join(words)} | sendmail -f {envelope} -- {shlex.quote(sender)}", found.raw)

    def _find(self, message_id: str) -> tuple[Delivered, str]:
        for person in PEOPLE:
            for folder in ("INBOX", "Junk"):
                for message in self.messages(person, folder):
                    if message.parsed.get("Message-ID", "").strip() == message_id.strip():
                        return message, f"{person}@{self.provider.domain}"
        raise NoSuchMessage(f"{self.provider.domain} holds no message {message_id}")

    def _run(self, script: str, stdin: bytes = b"") -> bytes:
        done = self.hosts.execute(self.provider.host, script, stdin, 30.0)
        if done.code:
            raise RuntimeError(f"{self.provider.host}: {done.err.decode(errors='replace')[:500]}")
        return done.out


def soften(tree: Path) -> None:
    """Let a receiver accept what fails DMARC and file it into Junk, and word its refusals itself."""
    milter, postfix = tree / "etc/opendmarc.conf", tree / "etc/postfix/main.cf"
    milter.write_text(milter.read_text().replace("RejectFailures true", "RejectFailures false"))
    postfix.write_text(f"{postfix.read_text()}default_rbl_reply = {REFUSAL}\n")
    (tree / "etc/dovecot/conf.d/99-softness.conf").write_text(
        "plugin {\n  sieve_before2 = /etc/dovecot/sieve/failures.sieve\n}\n"
    )


def _source_address(message: EmailMessage) -> str:
    """Take the sending address out of the receiver's own Received header: `from helo (name [address])`."""
    for received in message.get_all("Received", []):
        inside = str(received).partition("[")[2].partition("]")[0]
        if inside:
            return inside
    return ""
