"""P9: from trigger to proven delivery on a bare host, beside a shell script that does the same by hand.

Both take turns in one world, on servers of the same emulated provider, with the same Debian packages. The script is
counted from the moment its world is up; ours from the moment the command starts.
"""

import imaplib
import os
import smtplib
import socket
import ssl
import statistics
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from flows.policy import mail_host, secure_host
from sandbox.backend import Backend
from sandbox.hostwinds.admin import Admin
from sandbox.product import Product
from sandbox.stamps import Span, apt_spans, boot_span, length, mail_spans, step_spans, union, without
from sandbox.state import State
from sandbox.world import World

ROUNDS = int(os.environ.get("ROUNDS", "3"))
WORLD = "bench"
PACKAGES = sorted({*mail_host.PACKAGES, *secure_host.PACKAGES})
SCRIPT = Path(__file__).with_name("by_hand.sh")


def main() -> None:
    World.down_named(WORLD, say=lambda _: None)
    World.up(WORLD, say=lambda _: None)
    try:
        world = World.attach(State(WORLD).folder)
        product = Product(world)
        with product.serving():
            rounds = [(by_hand(world, number), by_product(world, product, number)) for number in range(ROUNDS)]
        report(rounds)
    finally:
        World.down_named(WORLD, say=lambda _: None)


@dataclass(frozen=True)
class Took:
    """Seconds of one onboarding by the product."""

    total: float
    own: float
    places: dict[str, tuple[float, float]]  # every second of it has one: all, and our own share
    others: dict[str, float]  # boot, apt and mail in flight


def report(rounds: list[tuple[float, Took]]) -> None:
    hand = [seconds for seconds, _ in rounds]
    ours = [one.total for _, one in rounds]
    ratios = [mine / theirs for mine, theirs in zip(ours, hand, strict=True)]
    own = [one.own for _, one in rounds]
    print(
        f"P9  load {os.getloadavg()[0]:.1f}, {len(rounds)} rounds, trigger to proven delivery on a bare host, seconds"
    )
    for name, values in (("by hand", hand), ("ours", ours), ("ratio", ratios), ("our own share", own)):
        row(name, values)
    print("P9  where the time of ours went: all of it, then our own share of it in brackets, medians")
    for name in rounds[0][1].places:
        seconds, share = (statistics.median(one.places[name][part] for _, one in rounds) for part in (0, 1))
        print(f"P9  {name:<19} {seconds:7.2f}   ({share:.2f})")
    for name in rounds[0][1].others:
        row(name, [one.others[name] for _, one in rounds])


def row(name: str, values: list[float]) -> None:
    print(f"P9  {name:<14} median {statistics.median(values):7.2f}   {min(values):.2f} to {max(values):.2f}")


def by_product(world: World, product: Product, number: int) -> Took:
    domain = f"ours{number}.example"
    world.add_zone(domain)
    backend = Backend(product.dsn())
    tenant = backend.sign_up(f"Ours {number}", domain, ["anna", "bert"])
    tsig = world.info["tsig"]
    product.run("secret", "put", f"dns/{domain}", "--tenant", tenant, stdin=tsig["secret"])
    backend.use_dns_host(domain, server=world.info["authoritative"], key_name=tsig["name"], secret_path=f"dns/{domain}")
    began = time.time()
    done = product.run("onboard", tenant)
    ended = time.time()
    if done.returncode != 0:
        raise SystemExit(f"onboard ended with {done.returncode}: {done.stdout[-500:]}")
    host = f"s{backend.server_of(domain)['hostwind_id']}"
    spans = {"boot": boot_span(world, host), "apt": apt_spans(world, host), "mail": mail_spans(backend, domain)}
    steps = step_spans(backend, domain)
    world.destroy_host(host)
    others = [span for found in spans.values() for span in found]
    return Took(
        total=ended - began,
        own=without([(began, ended)], others),
        places={
            name: (length(union(found)), without(found, others)) for name, found in places(began, steps, ended).items()
        },
        others={name: length(union(found)) for name, found in spans.items()},
    )


def places(began: float, steps: dict[str, Span], ended: float) -> dict[str, list[Span]]:
    """From the start of the command to its end without a gap."""
    marks = list(steps.values())
    between = [(one[1], other[0]) for one, other in pairwise(marks)]
    return {
        "start": [(began, marks[0][0])],
        **{name: [span] for name, span in steps.items()},
        "between the steps": between,
        "farewell": [(marks[-1][1], ended)],
    }


def by_hand(world: World, number: int) -> float:
    """A server, the script, the zone, a message: what one person would do, one thing after the other."""
    domain = f"hand{number}.example"
    world.add_zone(domain)
    began = time.time()
    serial = order(world, f"by-hand-{number}")
    server = next(row for row in Admin(world.info["admin_socket"]).servers() if row["label"] == f"by-hand-{number}")
    address, host = server["main_ip"], f"s{serial}"
    await_ssh(world, address)
    words = " ".join([domain, address, world.info["resolver"], *PACKAGES])
    code, out, err = world.exec(host, f"cat >/root/by_hand.sh; sh /root/by_hand.sh {words}", SCRIPT.read_bytes(), 600)
    if code:
        raise SystemExit(f"by_hand.sh ended with {code}: {err[-500:]!r}")
    publish(world, domain, address, dict(line.split(" ", 1) for line in out.decode().splitlines() if "v=DKIM1" in line))
    arrived = send_and_wait(world, domain, address)
    if not all(word in arrived for word in (b"spf=pass", b"dkim=pass", b"dmarc=pass")):
        raise SystemExit(f"the script's message did not pass: {arrived[:600]!r}")
    total = time.time() - began
    world.destroy_host(host)
    return total


def order(world: World, label: str) -> int:
    """The two calls of the API that a script would make."""
    info = world.info
    with world.enter_control(), httpx.Client(timeout=30) as api:
        fields = {"template": "debian-12", "rid": "1", "location_id": "1", "qty": "1", "billingcycle": "monthly"}
        api.post(info["api_url"], data={"action": "add_instance", "API": info["api_key"], "srvrname": label, **fields})
        while True:
            rows: list[dict[str, Any]] = api.post(
                info["api_url"], data={"action": "get_instances", "API": info["api_key"]}
            ).json()["success"]
            mine = [row for row in rows if row["srvrname"] == label and str(row.get("status")).upper() == "ACTIVE"]
            if mine and not mine[0].get("task_state"):
                return int(mine[0]["serviceid"])
            time.sleep(0.3)


def await_ssh(world: World, address: str) -> None:
    for _ in range(300):
        try:
            with world.enter_control(), socket.create_connection((address, 22), 2) as peer:
                if peer.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} never answered SSH")


def publish(world: World, domain: str, address: str, keys: dict[str, str]) -> None:
    host = f"mail.{domain}."
    world.dns_update(
        domain,
        replace=[
            ("mail", "A", [address]),
            ("@", "TXT", [f"v=spf1 ip4:{address} -all"]),
            ("mail", "TXT", [f"v=spf1 ip4:{address} -all"]),
            ("_dmarc", "TXT", ["v=DMARC1; p=reject"]),
            *((f"{name}._domainkey", "TXT", [value]) for name, value in keys.items()),
        ],
    )
    world.set_ptr(address, host)


def send_and_wait(world: World, domain: str, address: str) -> bytes:
    receiver = world.info["receivers"][0]
    message = EmailMessage()
    message["From"], message["To"] = f"postmaster@{domain}", receiver["mailbox"]
    message["Subject"], message["Date"] = "by hand", formatdate()
    message["Message-ID"] = make_msgid(domain=domain)
    message.set_content("by hand\n")
    lax = ssl.create_default_context()
    lax.check_hostname, lax.verify_mode = False, ssl.CERT_NONE
    with world.enter_control():
        with smtplib.SMTP(address, 587, timeout=30) as smtp:
            smtp.starttls(context=lax)
            smtp.login(f"postmaster@{domain}", "by-hand-password")
            smtp.send_message(message)
        with imaplib.IMAP4_SSL(receiver["address"], ssl_context=lax, timeout=30) as imap:
            imap.login(receiver["mailbox"], receiver["password"])
            for _ in range(300):
                imap.select("INBOX")
                found = imap.search(None, "HEADER", "Message-ID", f'"{message["Message-ID"]}"')[1][0].split()
                if found:
                    return imap.fetch(found[-1].decode(), "(BODY.PEEK[])")[1][0][1]  # pyright: ignore[reportReturnType, reportOptionalSubscript]
                time.sleep(0.1)
    raise SystemExit("the script's message never arrived")


if __name__ == "__main__":
    main()
