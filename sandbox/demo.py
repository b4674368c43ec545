"""The main job, shown: two tenants side by side, one by API and one by hand, proof for every address and domain.

The demo plays the back end (tables), the tenants at their DNS panels, the operator in the provider's panel, and a
receiver with moods; the product is started by command and goes on by itself.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sandbox.backend import Backend
from sandbox.controls import CONTROLS, Control
from sandbox.environment import proof_at
from sandbox.product import Product, end
from sandbox.stage import Stage, say
from sandbox.stamps import shares
from sandbox.state import DEFAULT_WORLD, State
from sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

API, HAND = "acme.example", "nordwind.example"
SECOND = "acme-post.example"  # the API tenant's other domain: it leaves from the second address
MOODY = "livemail.example"
ACME_ISSUER = "Pebble Intermediate CA"
GREYLIST_SECONDS = 45
PATIENCE_SECONDS = 900
PREPARED = "debian-12-mail"  # the negative controls prove refusals, not installations
AUTHENTICATION = re.compile(rb"^(authentication-results|received|dkim-signature|return-path):", re.IGNORECASE)
# Time runs for people who watch: a wait of minutes is one of seconds, and who waits is looked after often.
SETTINGS = {
    "PENGUINMAILS_WAITS__PACE": "0.05",
    "PENGUINMAILS_WAITS__SWEEP_SECONDS": "30",
    "PENGUINMAILS_MAIL__ARRIVAL_WAIT_SECONDS": "10",
    "PENGUINMAILS_MAIL_HOST__CERTIFICATE_ISSUER": "acme",
    "PENGUINMAILS_HOSTWINDS__MAX_CREATES_PER_DAY": "10",  # six tenants sign up within minutes
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    "PREFECT_RUNNER_PROCESS_LIMIT": "12",  # what is scheduled beside must not keep a tenant waiting on a busy machine
}


class Demo(Stage):
    """What is played, and what was not as it must be."""

    def __init__(self, world: World) -> None:
        """The world is up."""
        receivers = {"PENGUINMAILS_MAIL__PROOF_RECEIVERS": proof_at(world.info["receivers"])}
        super().__init__(world, Product(world, settings={**SETTINGS, **receivers}))
        self.failures: list[str] = []

    def run(self) -> int:
        """Play it all; 0 when everything came out as it must."""
        say("starting the product: embedded PostgreSQL, Prefect server, deployments")
        with self.product.serving():
            self.backend = Backend(self.product.dsn())
            self.side_by_side()
            if not self.failures:
                self.proofs()
                self.certificates()
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

    # Two tenants at once

    def side_by_side(self) -> None:
        """Both are begun by command and go on by themselves, whatever they wait for."""
        self.sign_up("Acme", API, by_api=True, more_domains=(SECOND,), ips=2)
        self.sign_up("Nordwind", HAND, by_api=False)
        self.world.receiver(MOODY).behave("greylist", sender=HAND, seconds=GREYLIST_SECONDS)
        say(f"{MOODY} greylists what it does not know yet from {HAND}, as many receivers do")
        say("both begin: python -m flows onboard TENANT; whatever they wait for, the scheduler takes them up again")
        watching = Watching(self.product)
        began = time.time()
        with ThreadPoolExecutor(2) as stage:
            stories = [stage.submit(self.by_api), stage.submit(self.by_hand)]
            for story in stories:
                story.result()
        watching.stop()
        took = time.time() - began
        say(f"both are active, {took:.0f} s after the commands, tenant's and operator's hands included")
        if not self.failures:
            for line in shares(self.world, self.backend, API, took)[:15]:
                print(f"    Acme  {line}")

    def by_api(self) -> None:
        """Two domains, four mailboxes, two addresses; the second address has to be bought by a person."""
        self.product.start("flows", "onboard", API)
        told = self.until(API, "Acme waits for the operator", lambda run: run["wait_reason"] == "operator")
        if "buy 1 IPv4" not in told:
            self.failures.append(f"Acme was to be told to buy an address, and was told: {told}")
            return
        tell("operator", f"told: {told}")
        (bought,) = self.admin.buy_ip(self.backend.server_of(API)["hostwind_id"])
        tell("operator", f"bought {bought} in the provider's panel, and presses nothing")
        self.until(API, "Acme is active", lambda run: run["status"] == "succeeded")

    def by_hand(self) -> None:
        """One domain at a DNS panel that appends the zone to every name: entered wrong, told, cured, taken up."""
        self.product.start("flows", "onboard", HAND)
        told = self.until(HAND, "Nordwind is asked for its records", lambda run: run["wait_reason"] == "dns")
        tell("tenant", f"told: {told}")
        tell("tenant", f"python -m flows dns records {HAND}")
        for line in self.product.run("dns", "records", HAND).stdout.splitlines():
            if line.count("\t") >= 2:  # noqa: PLR2004  a row of the table
                print(f"             {line[:118]}")
        tell("tenant", f"enters every name in full, and the panel appends {HAND} once more")
        self.publish_by_hand(HAND, appended=True)
        told = self.until(HAND, "the slip is named", lambda run: "the panel appends the zone" in run["detail"])
        tell("tenant", f"told: {told}")
        tell("tenant", "enters the names as told, and presses nothing")
        self.publish_by_hand(HAND)
        told = self.until(HAND, "greylisting is waited out", lambda run: "defers it" in run["detail"] or _ended(run))
        if "defers it" in told:
            tell("receiver", f"told: {told}")
        self.until(HAND, "Nordwind is active", lambda run: run["status"] == "succeeded")

    def until(self, domain: str, what: str, true: Callable[[dict[str, Any]], bool]) -> str:
        """Wait for a state of a tenant's run; its sentence."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            run = self.backend.run_of(domain)
            if run and true(run):
                return str(run["detail"])
            time.sleep(0.3)
        run = self.backend.run_of(domain)
        self.failures.append(f"{what}: it did not come to that; {domain} is {run.get('status')}: {run.get('detail')}")
        return ""

    # What it is worth

    def proofs(self) -> None:
        """Every domain from its address at every receiver; one message whole; the bundle, and a stranger's check."""
        for domain in (API, HAND):
            say(f"proof for every address and domain: python -m flows status {domain}")
            document = self.status(domain)
            for proof in document["proofs"]:
                source = f"{proof['domain']} from {proof['ip']} at {proof['receiver']}"
                print(f"    {proof['verdict']:<8} {source}")
                self.check(proof["verdict"] == "pass", f"{source}: {proof['verdict']}")
            wanted = {API: 4, HAND: 2}[domain]
            self.check(len(document["proofs"]) == wanted, f"{domain}: {len(document['proofs'])} proofs, not {wanted}")
        addresses = {proof["ip"] for proof in self.status(API)["proofs"]}
        self.check(len(addresses) == 2, f"Acme's proofs are from {sorted(addresses)}")  # noqa: PLR2004  both
        self.show_message(SECOND)
        say(f"python -m flows proof {API}; then, by a stranger without a network: python -m flows proof verify FILE")
        file = str(self.product.folder / "proof-acme.zip")
        for words in (("proof", API, "--to", file), ("proof", "verify", file)):
            done = self.product.run(*words)
            self.check(done.returncode == 0, f"{words[:2]} ended with {done.returncode}: {done.stderr}")
            for line in done.stdout.splitlines():
                if not line.startswith("      "):
                    print(f"    {line}")

    def certificates(self) -> None:
        """Both hosts show a certificate that the world's ACME authority issued."""
        say("certificates by ACME: python -m flows certificates list")
        rows = [line.split("\t") for line in self.product.run("certificates", "list").stdout.splitlines()]
        for host, names, issuer, ends, *_ in rows:
            print(f"    {host}: {names}, by {issuer}, until {ends}")
        ordered = [row for row in rows if ACME_ISSUER in row[2] and row[-1] == "issued"]
        self.check(len(ordered) == 2, f"{len(ordered)} hosts show a certificate by ACME")  # noqa: PLR2004  both tenants'

    def show_message(self, domain: str) -> None:
        """What a receiver wrote on top of a stored message, and our verdicts."""
        proofs = self.backend.proofs(domain)
        if not proofs:
            return
        say(f"the stored message of {domain}, as {proofs[0]['receiver']} received it")
        head = bytes(proofs[0]["raw_message"]).replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
        for field in re.split(rb"\n(?![ \t])", head):
            if AUTHENTICATION.match(field):
                print("    " + " ".join(field.decode("utf-8", "replace").split())[:230])
        for name, verdict in proofs[0]["checks"].items():
            print(f"    {verdict['truth']:<8} {name:<20} {', '.join(verdict['found'])[:150]}")

    def second_run(self) -> None:
        """The same orders again: looked at, nothing changed."""
        for domain in (API, HAND):
            say(f"the same again: python -m flows onboard {domain}")
            before = self.fingerprint(domain)
            done = self.product.run("onboard", domain, "--json")
            after = self.fingerprint(domain)
            self.check(done.returncode == 0, f"the second run ended with {done.returncode}: {done.stderr[-300:]}")
            for name, value in before.items():
                print(f"    {'unchanged' if value == after[name] else 'CHANGED'}: {name}")
                self.check(value == after[name], f"the second run of {domain} changed: {name}")

    def fingerprint(self, domain: str) -> dict[str, Any]:
        """What a second run must not touch."""
        host = self.host_of(domain)
        _, serial, _ = self.world.exec("dns", f"knotc zone-read {domain} @ SOA")
        _, started, _ = self.world.exec(host, "stat -c %Y /proc/1; uptime -s")
        _, files, _ = self.world.exec(
            host, "find /etc /root /usr/local -xdev -type f -newermt 2000-01-01 -printf '%p %T@\\n' | sort"
        )
        return {
            "zone serial": serial.split()[-5:] if serial else serial,
            "host start": started.split()[0],
            "files on the host": files,
            "messages at the receivers": [
                len(self.world.receiver(one["domain"]).messages()) for one in self.world.info["receivers"]
            ],
            "charges": len(self.admin.charges()),
        }

    # What must not work

    def controls(self) -> None:
        """Four tenants with one mistake each, side by side."""
        say("negative controls: four tenants, each with one mistake; none may become active")
        self.product.environment |= {
            "PENGUINMAILS_HOSTWINDS__TEMPLATE": PREPARED,
            "PENGUINMAILS_MAIL__ARRIVAL_WAIT_SECONDS": "8",
            "PENGUINMAILS_MAIL__PROOF_RECEIVERS": proof_at(self.world.info["receivers"][:1]),
            "PENGUINMAILS_DNS__PUBLISH_WAIT_SECONDS": "20",
            "PENGUINMAILS_WAITS__PACE": "10",  # they are judged as they stand, not while they are looked at again
        }
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

    def ledger(self) -> None:
        """What it cost: one server a tenant, the address that a person bought, and no call that must never be made."""
        charges = self.admin.charges()
        ours = [line for line in charges if not line["by_hook"]]
        tenants = 2 + len(CONTROLS)
        by_person = len(charges) - len(ours)
        say(f"the provider's ledger: {len(ours)} servers for {tenants} tenants, {by_person} address by a person")
        self.check(len(ours) == tenants, f"{len(ours)} charges of ours for {tenants} tenants")
        self.check(len(charges) == tenants + 1, f"{len(charges)} charges in all")
        self.check(not self.admin.violations(), f"forbidden calls: {self.admin.violations()}")


class Watching:
    """`python -m flows status --watch` beside the story: every change, told as it comes."""

    def __init__(self, product: Product) -> None:
        """Begin to watch."""
        self._log = product.folder / "watch.log"
        self._log.write_text("")
        self._process = product.start("flows", "status", "--watch", "--every", "0.5", log=self._log)
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait until its last line is told."""
        end(self._process)
        self._thread.join()

    def _follow(self) -> None:
        with self._log.open() as lines:
            while True:
                line = lines.readline()
                if line.count("\t") == 3:  # noqa: PLR2004  tenant, step, status, time: waits are told by the story
                    tenant, step, status, took = line.rstrip("\n").split("\t")
                    if status == "succeeded":
                        print(f"    ✓ {tenant:<9} {step:<20} {took:>8}", flush=True)
                elif not line:
                    if self._process.poll() is not None:
                        return
                    time.sleep(0.2)


def _ended(run: dict[str, Any]) -> bool:
    return run["status"] in {"succeeded", "failed", "rejected"}


def tell(who: str, sentence: str) -> None:
    """What somebody is told or does in between."""
    print(f"  {who:>8} │ {sentence}", flush=True)


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
