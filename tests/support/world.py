"""One world for the acceptance stories, and the product beside it, driven the way its users drive it."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
from psycopg.rows import dict_row

from sandbox import prerequisites
from sandbox.hostwinds.admin import Admin
from sandbox.product import Product, end
from sandbox.world import World
from tests.support import world_starter
from tests.support.prefect_tables import furnish
from tests.support.world_secrets import Arguments

NAME = os.environ.get("PENGUINMAILS_SANDBOX__WORLD") or "accept"
REQUIRED = os.environ.get("PENGUINMAILS_SANDBOX__REQUIRED") == "1"
PREPARED, BARE = "debian-12-mail", "debian-12"
TEMPLATE = "PENGUINMAILS_HOSTWINDS__TEMPLATE"
RECEIVER = "bigmail.example"
LIMITS = {"servers": 1, "ips": 2, "domains": 3, "mailboxes": 10}
# A story waits for what it made itself, so a run may be short of patience; many servers are ordered in one day.
SETTINGS = {
    TEMPLATE: PREPARED,
    "PENGUINMAILS_HOSTWINDS__MAX_CREATES_PER_DAY": "100",
    # A story asks for a sweep when it wants one; by itself each costs a process that imports Prefect.
    "PENGUINMAILS_WAITS__SWEEP_SECONDS": "3600",
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
SECOND_PORT = 4300
PATIENCE_SECONDS = 400.0  # of a command; generous, for other work may share the machine
DONE, FAILED, WAITING, FOR_OPERATOR, REJECTED = 0, 1, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as the back end wrote it: `id` is the row, `uuid` what the outside calls it."""

    id: int
    uuid: str
    domain: str


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything it printed, for a failed assertion."""
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Lab:
    """A world, an installation of the product, and whatever plays the people around them."""

    def __init__(self, world: World, product: Product, dsn: str, arguments: Arguments) -> None:
        self.world, self.product, self.dsn, self.arguments = world, product, dsn, arguments
        self.printed: list[str] = []
        self.starter: Path | None = None  # a socket; without it every command begins at a fresh interpreter
        self.admin = Admin(world.info["admin_socket"])
        self.tables = psycopg.Connection[dict[str, Any]].connect(dsn, autocommit=True, row_factory=dict_row)  # pyright: ignore[reportArgumentType]  psycopg's own overload is narrower than what it takes

    # The product's user

    def flows(self, *words: str, stdin: str = "", **settings: str) -> Ran:
        """Run `python -m flows …`; keyword arguments are environment variables."""
        return self.python("flows", *words, stdin=stdin, **settings)

    def python(self, *words: str, stdin: str = "", **settings: str) -> Ran:
        """Run `python -m …` in the control room."""
        if self.starter:
            ran = Ran(**world_starter.ask(self.starter, words, settings, stdin, PATIENCE_SECONDS))
        else:
            ran = self.interpreted(*words, stdin=stdin, **settings)
        if words[:2] != ("tests.support.world_product", "secret"):  # the one that is to print secrets
            self.printed.append(ran.out + ran.err)
        return ran

    def interpreted(self, *words: str, stdin: str = "", **settings: str) -> Ran:
        """The same by an interpreter of its own, as its users start it."""
        ended = subprocess.run(
            self.product.words(*words), cwd=Path.cwd(), env={**self.product.environment, **settings}, input=stdin,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    def dies(self, tenant: Tenant, when: str, boundary: str, nth: int = 1, **settings: str) -> None:
        """Onboard a tenant in a process that is killed just before or after the nth call of `module:function`."""
        ran = self.python(
            "tests.support.killing", when, boundary, str(nth), "onboard", tenant.uuid, stdin="", **settings
        )
        assert ran.code == -signal.SIGKILL, f"{when} {boundary}: it was to be killed\n{ran.said}"

    def onboard(self, tenant: Tenant, **settings: str) -> Ran:
        """Onboard a tenant, to the end or to a wait."""
        return self.flows("onboard", tenant.uuid, **settings)

    # The back end

    def add_tenant(
        self, name: str, *, by_hand: bool = False, ips: int = 1, mailboxes: tuple[str, ...] = ("anna", "bert")
    ) -> Tenant:
        """Write a paying tenant with one domain `<name>.example`; the zone exists, its key is ours unless by hand."""
        domain = f"{name}.example"
        self.world.add_zone(domain)
        plan = self.one(
            "INSERT INTO plans (plan_name, price, limits) VALUES ('acceptance', 49, %s)"
            " ON CONFLICT (plan_name) DO UPDATE SET price = 49 RETURNING id",
            json.dumps(LIMITS),
        )
        row = self.one(
            "INSERT INTO tenants (name, domain, settings) VALUES (%s, %s, %s) RETURNING id, tenant_id",
            name, domain, json.dumps({"infrastructure": {"ips": ips}}),
        )  # fmt: skip
        tenant = Tenant(row["id"], str(row["tenant_id"]), domain)
        self.tables.execute(
            "INSERT INTO subscriptions (tenant_id, plan_id, expires_at) VALUES (%s, %s, now() + interval '30 days')",
            [tenant.id, plan["id"]],
        )
        self.tables.execute(
            "INSERT INTO domains (tenant_id, domain_name, is_primary) VALUES (%s, %s, true)", [tenant.id, domain]
        )
        for local in mailboxes:
            self.tables.execute(
                "INSERT INTO email_accounts (tenant_id, email_address, status) VALUES (%s, %s, 'pending')",
                [tenant.id, f"{local}@{domain}"],
            )
        if not by_hand:
            self.hand_over_dns(tenant)
        return tenant

    def hand_over_dns(self, tenant: Tenant, secret: str | None = None) -> None:
        """Let the product publish: the key goes into the sealed store by command, the rest into the domain's row."""
        tsig = self.world.info["tsig"]
        path = f"dns/{tenant.domain}"
        put = self.flows("secret", "put", path, "--tenant", tenant.uuid, stdin=secret or tsig["secret"])
        assert put.code == 0, put.said
        settings = {"server": self.world.info["authoritative"], "key_name": tsig["name"], "secret_path": path}
        self.tables.execute(
            "UPDATE domains SET dns_host = 'rfc2136', dns_host_settings = %s WHERE tenant_id = %s",
            [json.dumps(settings), tenant.id],
        )

    def one(self, sql: LiteralString, *values: Any, **named: Any) -> dict[str, Any]:
        """The one row of a statement."""
        rows = self.rows(sql, *values, **named)
        assert len(rows) == 1, f"{len(rows)} rows: {sql}"
        return rows[0]

    def rows(self, sql: LiteralString, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """The rows of a statement."""
        return self.tables.execute(sql, named or values).fetchall()

    def run_of(self, tenant: Tenant) -> dict[str, Any]:
        """The tenant's newest run."""
        return self.rows(
            "SELECT * FROM provisioning_runs WHERE tenant_id = %s ORDER BY created_at DESC LIMIT 1", tenant.id
        )[0]

    def instance_of(self, tenant: Tenant) -> dict[str, Any]:
        """The tenant's one server row."""
        return self.one("SELECT *, host(ip_address) AS ip FROM vps_instances WHERE tenant_id = %s", tenant.id)

    def proofs_of(self, tenant: Tenant) -> list[dict[str, Any]]:
        """Its canaries, the oldest first."""
        return self.rows("SELECT * FROM delivery_proofs WHERE tenant_id = %s ORDER BY id", tenant.id)

    # The provider's books

    def bought_for(self, tenant: Tenant) -> list[str]:
        """What the product was charged for a tenant's server, as kinds of charges."""
        token = self.instance_of(tenant)["instance_id"]
        return [line["kind"] for line in self.admin.charges(label=token) if not line["by_hook"]]

    def host_of(self, tenant: Tenant) -> str:
        """The sandbox's name of a tenant's server."""
        token = self.instance_of(tenant)["instance_id"]
        return next(server["host"] for server in self.admin.servers() if server["label"] == token)

    def on_host(self, tenant: Tenant, script: str, stdin: bytes = b"") -> str:
        """Run a script on the tenant's server past SSH; it must end well."""
        code, out, err = self.world.exec(self.host_of(tenant), script, stdin)
        assert code == 0, f"{script}\nexit {code}\n{err.decode(errors='replace')}"
        return out.decode(errors="replace")

    # The receiver

    def received_from(self, tenant: Tenant) -> list[str]:
        """Message-IDs of the canaries of a tenant that the receiver holds."""
        found = [message.parsed for message in self.world.receiver(RECEIVER).messages()]
        return [str(message["Message-ID"]) for message in found if f"@{tenant.domain}" in str(message["From"])]

    # The tenant's DNS panel

    def zone_serial(self, zone: str) -> int:
        """The serial the authoritative server holds."""
        _, out, _ = self.world.exec("dns", f"knotc zone-status {zone} +serial")
        return int(out.decode().rpartition("serial:")[2].split()[0].strip("|"))

    def publish_by_hand(self, tenant: Tenant, *, without: str = "\0", **changed: list[str]) -> None:
        """Copy `domains.dns_records` into the zone as a tenant would; keys that start with `without` are left out.

        `changed` gives other values to a record, by its key.
        """
        row = self.one("SELECT dns_records FROM domains WHERE tenant_id = %s", tenant.id)
        sets: dict[tuple[str, str], list[str]] = {}
        for record in row["dns_records"]["records"]:
            if record["record_key"].startswith(without) or record["holder"] != "tenant":
                continue
            owner = record["name"].rstrip(".").removesuffix(tenant.domain).rstrip(".") or "@"
            values: list[str] = changed.get(record["record_key"]) or record["value"]
            sets.setdefault((owner, record["record_type"]), []).extend(values)
        self.world.dns_update(tenant.domain, replace=[(owner, kind, values) for (owner, kind), values in sets.items()])
        self.world.zones.flush(tenant.domain)


@contextmanager
def raised(*, watched: bool) -> Generator[Lab]:
    """A world of our own and one `serve` in it, gone afterwards; what a dead session left goes first.

    `watched`: the arguments of all processes are remembered, for a story that looks for secrets in them.
    """
    World.down_named(NAME, say=_nobody)
    world = World.up(NAME, say=_nobody)
    try:
        product = installation(world, "product", SETTINGS)
        with Arguments(watched=watched) as arguments, product.serving():
            lab = Lab(world, product, product.dsn(), arguments)
            try:
                with world_starter.starting(product) as lab.starter:
                    yield lab
            finally:
                lab.tables.close()
    finally:
        world.down(say=_nobody)


def installation(world: World, name: str, settings: Mapping[str, str]) -> Product:
    """The product beside a world, with Prefect's tables there before its server begins."""
    product = Product(world, name=name, settings=settings)
    furnish(product.folder / "prefect" / "prefect.db")
    return product


def at_once(*works: Callable[[], None]) -> None:
    """Do several things at the same time; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(len(works)) as workers:
        pending = [workers.submit(work) for work in works]
    for one in pending:
        one.result()


@contextmanager
def second_installation(lab: Lab, name: str, sealing_key: str) -> Generator[Lab]:
    """Another installation in the same world: a database and a Prefect server of its own, no sweep, no automation."""
    lab.tables.execute(f'CREATE DATABASE "{name}"')  # pyright: ignore[reportArgumentType, reportCallIssue]  a literal of ours
    dsn = lab.dsn.replace("/penguinmails?", f"/{quote(name)}?")
    settings: Mapping[str, str] = {
        **SETTINGS,
        "PENGUINMAILS_DATABASE__CORE_DSN": dsn,
        "PENGUINMAILS_SEALING__KEYS": json.dumps({"k1": sealing_key}),
        "PREFECT_API_URL": f"http://127.0.0.1:{SECOND_PORT}/api",
    }
    product = installation(lab.world, name, settings)
    other = Lab(lab.world, product, dsn, lab.arguments)
    prefect = product.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(SECOND_PORT))
    try:
        with world_starter.starting(product) as other.starter:
            migrated = other.flows("migrate", "up")
            assert migrated.code == 0, migrated.said
            _await(lambda: _answers(other))
            yield other
    finally:
        end(prefect)
        other.tables.close()


def _await(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not come up"
        time.sleep(0.2)


def _answers(lab: Lab) -> bool:
    """Whether the Prefect server of an installation takes connections."""
    with lab.world.enter_control(), socket.socket() as line:
        return line.connect_ex(("127.0.0.1", SECOND_PORT)) == 0


def why_not() -> str:
    """What keeps a world from being raised here; empty when nothing does."""
    return "; ".join(f"{lack.what} ({lack.cure})" for lack in prerequisites.lacks())


def _nobody(_: str) -> None:
    return
