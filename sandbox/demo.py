"""The main job, shown: a tenant from nothing to proven mail, a second run that changes nothing, four that must fail.

The demo plays the back end (tables), the tenant's DNS panel (RFC 2136 by hand) and nobody else; the product is started
by command.
"""

from __future__ import annotations

import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.backend import Backend
from sandbox.hostwinds.admin import Admin
from sandbox.product import Product
from sandbox.stamps import shares
from sandbox.state import DEFAULT_WORLD, State
from sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAITING_FOR_OPERATOR = 4
PREPARED = "debian-12-mail"  # the negative controls prove refusals, not installations
# The host adds the claim to everything that leaves: as whoever controls a sender could.
FORGE = (
    "printf '/^Subject:/ PREPEND %s\\n' \"$(cat)\" >/etc/postfix/forge"
    " && postconf -e smtp_header_checks=pcre:/etc/postfix/forge && postfix reload && postqueue -f"
)
AUTHENTICATION = re.compile(rb"^(authentication-results|received|dkim-signature|return-path):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Control:
    """One tenant that must not become active, and the word its reason has to hold."""

    domain: str
    mistake: str
    why: str
    story: Callable[[Demo, str], None]


class Demo:
    """The stage: a world, the product beside it, and what was seen."""

    def __init__(self, world: World) -> None:
        """The world is up."""
        self.world = world
        self.product = Product(world)
        self.admin = Admin(world.info["admin_socket"])
        self.backend = Backend("")
        self.failures: list[str] = []

    def run(self) -> int:
        """Play it all; 0 when everything came out as it must."""
        say("starting the product: embedded PostgreSQL, Prefect server, deployments")
        with self.product.serving():
            self.backend = Backend(self.product.dsn())
            self.main_job()
            self.second_run()
            self.controls()
            self.ledger()
        for failure in self.failures:
            say(f"NOT AS IT MUST BE: {failure}")
        say("the demo ended as it must" if not self.failures else f"{len(self.failures)} things are wrong")
        return 1 if self.failures else 0

    def check(self, right: bool, sentence: str) -> None:
        """Note what is not as it must be."""
        if not right:
            self.failures.append(sentence)

    def main_job(self) -> None:
        """A tenant whose DNS host takes our updates, on a bare host."""
        tenant = self.sign_up("Acme", "acme.example", by_api=True)
        say("python -m flows onboard acme.example")
        began = time.time()
        code = self.onboard(tenant)
        took = time.time() - began
        self.check(code == 0, f"onboard ended with exit code {code}")
        if code != 0:
            say(self.product.run("status", tenant).stdout)
            return
        say(f"from trigger to active: {took:.1f} s")
        for line in shares(self.world, self.backend, "acme.example", took):
            print(f"    {line}")
        self.show_proof("acme.example")

    def sign_up(self, name: str, domain: str, *, by_api: bool) -> str:
        """The back end writes the tenant; with `by_api` also the credential of its DNS host."""
        if self.world.exec("dns", f"knotc zone-status {domain}")[0]:
            self.world.add_zone(domain)
        tenant = self.backend.sign_up(name, domain, ["anna", "bert"])
        if by_api:
            tsig = self.world.info["tsig"]
            path = f"dns/{domain}"
            self.product.run("secret", "put", path, "--tenant", tenant, stdin=tsig["secret"])
            self.backend.use_dns_host(
                domain, server=self.world.info["authoritative"], key_name=tsig["name"], secret_path=path
            )
        say(f"the back end wrote tenant {name}: {domain}, anna, bert, {'DNS by API' if by_api else 'DNS by hand'}")
        return tenant

    def onboard(self, tenant: str) -> int:
        """The operator's command, its progress shown as it comes."""
        started = self.product.start("flows", "onboard", tenant, log=self.product.folder / "onboard.log")
        shown = 0
        while True:
            ended = started.poll()
            text = (self.product.folder / "onboard.log").read_text()
            for line in text[shown:].splitlines():
                if line.startswith(("  ", "Completed", "Waiting", "Failed", "Rejected")):
                    print(f"  {line}")
            shown = len(text)
            if ended is not None:
                return ended
            time.sleep(0.3)

    def show_proof(self, domain: str) -> None:
        """The stored message: what the receiver wrote on top of it, and our verdicts."""
        proofs = self.backend.proofs(domain)
        self.check(bool(proofs) and proofs[0]["verdict"] == "pass", f"{domain} has no passing proof")
        if not proofs:
            return
        say(f"the stored proof of {domain}, as {proofs[0]['receiver']} received it")
        head = bytes(proofs[0]["raw_message"]).replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
        for field in re.split(rb"\n(?![ \t])", head):
            if AUTHENTICATION.match(field):
                print("    " + " ".join(field.decode("utf-8", "replace").split())[:230])
        for name, verdict in proofs[0]["checks"].items():
            print(f"    {verdict['truth']:<8} {name:<20} {', '.join(verdict['found'])[:150]}")

    def fingerprint(self, domain: str) -> dict[str, Any]:
        """What a second run must not touch."""
        host = self.host_of(domain)
        _, serial, _ = self.world.exec("dns", f"knotc zone-read {domain} @ SOA")
        _, started, _ = self.world.exec(host, "stat -c %Y /proc/1; uptime -s")
        _, files, _ = self.world.exec(
            host, "find /etc /root /usr/local -xdev -type f -newermt 2000-01-01 -printf '%p %T@\\n' | sort"
        )
        messages = len(self.world.receiver("bigmail.example").messages())
        return {
            "zone serial": serial.split()[-5:] if serial else serial,
            "host start": started.split()[0],
            "files": files,
            "messages at the receiver": messages,
            "charges": len(self.admin.charges()),
        }

    def host_of(self, domain: str) -> str:
        """The sandbox's name of a domain's server."""
        return f"s{self.backend.server_of(domain)['hostwind_id']}"

    def second_run(self) -> None:
        """The same order again: looked at, nothing changed."""
        say("the same again: python -m flows onboard acme.example")
        before = self.fingerprint("acme.example")
        done = self.product.run("onboard", "acme.example", "--json")
        after = self.fingerprint("acme.example")
        self.check(done.returncode == 0, f"the second run ended with {done.returncode}: {done.stderr[-300:]}")
        for name, value in before.items():
            same = value == after[name]
            print(f"    {'unchanged' if same else 'CHANGED'}: {name}")
            self.check(same, f"the second run changed: {name}")

    def controls(self) -> None:
        """Four tenants with one mistake each, side by side."""
        say("negative controls: four tenants, each with one mistake; none may become active")
        self.product.environment["PENGUINMAILS_HOSTWINDS__TEMPLATE"] = PREPARED
        self.product.environment["PENGUINMAILS_MAIL__ARRIVAL_WAIT_SECONDS"] = "8"
        self.product.environment["PENGUINMAILS_DNS__PUBLISH_WAIT_SECONDS"] = "20"
        with ThreadPoolExecutor(len(CONTROLS)) as stage:
            list(stage.map(self.play, CONTROLS))
        for control in CONTROLS:
            report = self.status(control.domain)
            active = self.backend.server_of(control.domain).get("status") == "active"
            right = not active and report["status"].startswith("waiting_for_") and control.why in str(report["detail"])
            print(f"    {control.domain:<16} {control.mistake}")
            print(f"    {'':<16} {report['status']}: {report['detail']}")
            self.check(right, f"{control.domain} ({control.mistake}): {report['status']}, {report['detail']}")

    def play(self, control: Control) -> None:
        """One control from sign-up to its refusal."""
        control.story(self, control.domain)

    def status(self, word: str) -> dict[str, Any]:
        """`status --json` of one tenant."""
        found = self.product.run("status", word, "--json")
        return json.loads(found.stdout) if found.stdout.strip() else {"status": "none", "detail": found.stderr}

    def publish_by_hand(self, domain: str, leave_out: str = "", change: Callable[[str], str] = str) -> None:
        """The tenant at its DNS panel: every record the web application shows, with the mistake."""
        for record in self.backend.records_to_publish(domain):
            if record["holder"] != "tenant" or record["need"] == "optional" or record["record_key"].startswith("mx:"):
                continue
            if leave_out and record["record_key"].startswith(leave_out):
                continue
            values = [change(value) for value in record["value"]]
            self.world.dns_update(domain, replace=[(absolute(record["name"]), record["record_type"], values)])
        self.world.zones.flush(domain)

    def go_on(self, domain: str) -> None:
        """The operator presses retry."""
        self.product.run("retry", self.status(domain)["run"], "--yes")

    def ledger(self) -> None:
        """What it cost: one server for each tenant, and not one call that must never be made."""
        charges = self.admin.charges()
        say(f"the provider's ledger: {len(charges)} charges for {1 + len(CONTROLS)} tenants")
        self.check(len(charges) == 1 + len(CONTROLS), f"{len(charges)} charges for {1 + len(CONTROLS)} tenants")
        self.check(not self.admin.violations(), f"forbidden calls: {self.admin.violations()}")


def withheld_dkim(demo: Demo, domain: str) -> None:
    """Everything is published but the DKIM keys."""
    demo.sign_up("Beta", domain, by_api=False)
    demo.product.run("onboard", domain)
    demo.publish_by_hand(domain, leave_out="dkim-")
    demo.go_on(domain)


def foreign_spf(demo: Demo, domain: str) -> None:
    """The SPF records name another address."""
    demo.sign_up("Gamma", domain, by_api=False)
    demo.product.run("onboard", domain)

    def another(value: str) -> str:
        return re.sub(r"ip4:[0-9.]+", "ip4:192.0.2.99", value) if value.startswith("v=spf1") else value

    demo.publish_by_hand(domain, change=another)
    demo.go_on(domain)


def default_ptr(demo: Demo, domain: str) -> None:
    """The provider accepts the PTR request and does nothing."""
    demo.sign_up("Delta", domain, by_api=True)
    onboarding = demo.product.start("flows", "onboard", domain)
    while not (server := demo.backend.server_of(domain)):
        time.sleep(0.1)
    demo.admin.fault("ptr_never", label=server["instance_id"], times="forever")
    onboarding.wait()


def forged_results(demo: Demo, domain: str) -> None:
    """The message carries a header that claims a pass; the key in DNS is another one by the time it arrives."""
    demo.sign_up("Omega", domain, by_api=True)
    receiver = demo.world.receiver("bigmail.example")
    receiver.rules([{"match": {"sender": f"@{domain}"}, "action": "451 4.7.1 try again later"}])
    demo.product.run("onboard", domain)
    for row in demo.backend.rows(
        "SELECT selector FROM dkim_keys k JOIN domains d ON d.id = k.domain_id WHERE d.domain_name = %s", domain
    ):
        name = f"{row['selector']}._domainkey.{domain}"
        demo.world.dns_update(domain, replace=[(absolute(name), "TXT", ["v=DKIM1; k=ed25519; p=" + "A" * 43 + "="])])
    demo.world.zones.flush(domain)
    claim = f"Authentication-Results: mx.bigmail.example; spf=pass; dkim=pass header.d={domain}; dmarc=pass"
    receiver.clear()
    demo.world.exec(demo.host_of(domain), FORGE, claim.encode())
    demo.go_on(domain)


CONTROLS: Sequence[Control] = (
    Control("beta.example", "DKIM record withheld", "dkim-", withheld_dkim),
    Control("gamma.example", "SPF without our IP", "spf", foreign_spf),
    Control("delta.example", "default PTR", "PTR", default_ptr),
    Control("omega.example", "forged Authentication-Results", "dkim-rsa", forged_results),
)


def absolute(name: str) -> str:
    """An owner that is not taken as relative to its zone."""
    return f"{name.rstrip('.')}."


def say(sentence: str) -> None:
    """One line of the story."""
    print(f"\n• {sentence}", flush=True)


def play(name: str = DEFAULT_WORLD, *, keep: bool = False) -> int:
    """Raise a fresh world, play the demo in it, take it down again."""
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  a text stream
    World.down_named(name, say=lambda _: None)
    say("raising a world without uplink (images are built once and cached)")
    World.up(name, say=lambda line: print(f"    {line}"))
    try:
        return Demo(World.attach(State(name).folder)).run()
    finally:
        if not keep:
            World.down_named(name, say=lambda _: None)
