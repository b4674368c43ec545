"""Postfix: who may send through the host, by which address, and to whom it delivers."""

import re
from collections.abc import Iterable, Mapping

from flows.policy import verp
from flows.policy.convergence import Component, Condition, File, Unit
from flows.policy.host_files import filled, text
from flows.policy.mail_host.nouns import MailDomain, MailHost, SendingAddress
from flows.policy.mail_host.opendkim import PORTS

FOLDER = "/etc/postfix/penguin"
ROLES = ("postmaster", "abuse")  # RFC 2142; feedback loops are enrolled by them
LISTENS = ("0.0.0.0:25", "0.0.0.0:465", "0.0.0.0:587")
# Postfix waits until a file it reads has not changed for two seconds; ours arrive whole, so they may look older.
AGED = f"touch -d '3 seconds ago' /etc/postfix/main.cf {FOLDER}/*"
TRANSPORT = re.compile(r"smtp-ip[0-9]+")


def component(host: MailHost) -> Component:
    """Every file of Postfix; maps are plain text, so that a change needs a reload and no built database."""
    maps = {
        "domains": dict.fromkeys(host.mail_domains, "here"),
        "mailboxes": dict.fromkeys((*(mailbox.address for mailbox in host.mailboxes), host.feedback), "here"),
        "aliases": aliases(host),
        "logins": logins(host),
        "transports": transports(host.domains),
        "own_senders": dict.fromkeys(logins(host), "REJECT 5.7.1 senders of this host log in before they send"),
        "null_sender": {"<>": "REJECT 5.7.1 a mailbox sends under its own address"},
    }
    files = tuple(_map(name, entries) for name, entries in maps.items())
    return Component(
        "postfix",
        # Postfix dies of a reload that takes IPv6 away from it, and systemd goes on calling it active.
        before=(Condition("ipv4-only", "! ss -Hltn | grep -qF ' [::]:25 '", "systemctl stop postfix@-"),),
        files=(
            File("/etc/postfix/main.cf", _main(host).encode()),
            File("/etc/postfix/master.cf", _master(host.addresses).encode()),
            File(f"{FOLDER}/header_checks", text("header_checks").encode()),
            *files,
        ),
        check=f"{AGED} && postfix check && postmap -q 'Sender: x' pcre:{FOLDER}/header_checks >/dev/null",
        ports=LISTENS,
        settle="postfix reload",
        units=(Unit("postfix", probe="postfix@-"),),
    )


def aliases(host: MailHost) -> Mapping[str, str]:
    """Role addresses of every domain, and the return paths of every bounce domain."""
    mailboxes = {mailbox.address for mailbox in host.mailboxes}
    fallback = host.role_recipient or host.feedback
    entries = {f"root@{host.hostname}": fallback, f"mailer-daemon@{host.hostname}": fallback}
    for domain in host.mail_domains:
        entries |= {f"{role}@{domain}": fallback for role in ROLES if f"{role}@{domain}" not in mailboxes}
    return entries | {f"{verp.TAG}@{domain.bounce}": host.feedback for domain in host.domains}


def logins(host: MailHost) -> Mapping[str, str]:
    """Which login owns which envelope sender: its own address, and the return paths of its domain."""
    owners = {mailbox.address: mailbox.address for mailbox in host.mailboxes}
    for domain in host.domains:
        users = sorted(mailbox.address for mailbox in host.mailboxes if mailbox.domain == domain.name)
        if users:
            owners[f"{verp.TAG}@{domain.bounce}"] = ",".join(users)
    return owners


def transports(domains: Iterable[MailDomain]) -> Mapping[str, str]:
    """One domain leaves by one address, its return paths too."""
    return {f"@{name}": f"{domain.transport}:" for domain in domains for name in (domain.name, domain.bounce)}


def _map(name: str, entries: Mapping[str, str]) -> File:
    lines = "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))
    return File(f"{FOLDER}/{name}", lines.encode(), mode="640", owner="root:postfix")


def _main(host: MailHost) -> str:
    validates = not host.resolver.forwarders
    return filled(
        "main.cf",
        {
            "HOSTNAME": host.hostname,
            "PORT_RSA": str(PORTS["rsa"]),
            "PORT_ED": str(PORTS["ed25519"]),
            "TLS_LEVEL": "dane" if validates else "may",
            "DNS_LEVEL": "dnssec" if validates else "enabled",
            "MAIN_TRANSPORT": host.main.transport,
            "TRANSPORT_LIMITS": "\n".join(_limits(address) for address in host.addresses),
        },
    )


def _limits(address: SendingAddress) -> str:
    settings = {
        "destination_concurrency_limit": address.concurrency,
        "initial_destination_concurrency": 2,
        "destination_rate_delay": f"{address.rate_delay_seconds}s",
        "destination_recipient_limit": 1,
    }
    return "\n".join(f"{address.transport}_{name} = {value}" for name, value in settings.items())


def _master(addresses: Iterable[SendingAddress]) -> str:
    submission = text("submission.cf").rstrip("\n")
    return filled("master.cf", {"SUBMISSION": submission, "TRANSPORTS": "\n".join(map(_transport, addresses))})


def _transport(address: SendingAddress) -> str:
    if not TRANSPORT.fullmatch(address.transport):
        raise ValueError(f"a transport is named smtp-ip<n>, got {address.transport!r}")
    return "\n".join(
        (
            f"{address.transport} unix - - n - - smtp",
            f"  -o syslog_name=postfix/{address.transport}",
            f"  -o smtp_bind_address={address.ip}",
            f"  -o smtp_helo_name={address.helo}",
        )
    )
