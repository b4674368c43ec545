"""The product against a real database, a real Prefect server and the emulated provider, up to the ordered server."""

# ruff: noqa: PLC0415 - rings without flows need not wait for Prefect
import base64
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.emulator import Emulated, until

ROOT = Path(__file__).resolve().parents[2]
SEALING_KEY = base64.b64encode(bytes(range(32))).decode()
PLAN = {"servers": 1, "ips": 2, "domains": 3, "mailboxes": 10}


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant as the back end signed it up."""

    pk: int
    uuid: UUID


@dataclass(frozen=True, slots=True)
class Product:
    """One installation: its settings are in the environment, where the product reads them."""

    dsn: str
    hostwinds: Emulated
    monkeypatch: pytest.MonkeyPatch
    settings: dict[str, str] = field(default_factory=dict)

    def configure(self, **changes: str) -> None:
        """Set or replace settings: HOSTWINDS__BURST="5"; they hold from the next flow on."""
        from flows import resources

        self.settings.update({f"PENGUINMAILS_{name}": value for name, value in changes.items()})
        for name, value in self.settings.items():
            self.monkeypatch.setenv(name, value)
        resources.settings.cache_clear()

    async def onboard(self, customer: Customer, **more: Any) -> Any:
        """Run the journey in this process; the state it ended in."""
        from flows.onboard import onboard_tenant

        return await onboard_tenant(customer.uuid, return_state=True, **more)

    def begin(self, customer: Customer) -> BaseProcess:
        """Run the journey in a process of its own, to be killed."""
        return started(onboard_in_child, dict(self.settings), customer.uuid)

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """What the tables say, past row security."""
        with psycopg.connect(self.dsn, row_factory=dict_row, autocommit=True) as conn:
            cursor = conn.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def run_of(self, customer: Customer) -> dict[str, Any]:
        """The tenant's one run."""
        (row,) = self.rows("SELECT * FROM provisioning_runs WHERE tenant_id = %s", customer.pk)
        return row

    def orders_of(self, customer: Customer) -> list[dict[str, Any]]:
        """The tenant's orders."""
        return self.rows("SELECT * FROM provider_orders WHERE tenant_id = %s ORDER BY id", customer.pk)

    def order_of(self, customer: Customer) -> dict[str, Any]:
        """The tenant's one order."""
        (row,) = self.orders_of(customer)
        return row

    def steps_of(self, customer: Customer) -> dict[str, str]:
        """Step key to status."""
        found = self.rows("SELECT step_key, status FROM provisioning_steps WHERE tenant_id = %s", customer.pk)
        return {row["step_key"]: row["status"] for row in found}

    def attempts_of(self, customer: Customer, step_key: str) -> list[dict[str, Any]]:
        """Every try of a step."""
        return self.rows(
            "SELECT a.* FROM provisioning_attempts a JOIN provisioning_steps s ON s.id = a.step_id"
            " WHERE a.tenant_id = %s AND s.step_key = %s ORDER BY attempt_number",
            customer.pk,
            step_key,
        )

    def sign_up(  # one knob each, named at the call
        self,
        name: str = "acme",
        *,
        domains: Sequence[str] | None = None,
        mailboxes: Sequence[str] | None = None,
        limits: dict[str, Any] | None = None,
        subscription: str | None = "active",
        ends_in: str | None = "30 days",
        settings: dict[str, Any] | None = None,
        status: str = "active",
    ) -> Customer:
        """A tenant with what it bought and wants."""
        domains = [f"{name}.example"] if domains is None else domains
        mailboxes = [f"anna@{domain}" for domain in domains] if mailboxes is None else mailboxes
        with psycopg.connect(self.dsn) as conn:
            pk, uuid = self._one(
                conn,
                "INSERT INTO tenants (name, settings, status) VALUES (%s, %s, %s) RETURNING id, tenant_id",
                name, json.dumps(settings or {}), status,
            )  # fmt: skip
            if subscription is not None:
                (plan,) = self._one(
                    conn,
                    "INSERT INTO plans (plan_name, price, limits) VALUES (%s, 49, %s) RETURNING id",
                    f"plan of {name}", json.dumps(PLAN if limits is None else limits),
                )  # fmt: skip
                conn.execute(
                    "INSERT INTO subscriptions (tenant_id, plan_id, status, expires_at)"
                    " VALUES (%s, %s, %s, now() + %s::interval)",
                    [pk, plan, subscription, ends_in],
                )
            for domain in domains:
                conn.execute("INSERT INTO domains (tenant_id, domain_name) VALUES (%s, %s)", [pk, domain])
            for box in mailboxes:
                conn.execute(
                    "INSERT INTO email_accounts (tenant_id, email_address, status) VALUES (%s, %s, 'pending')",
                    [pk, box],
                )
        return Customer(pk, uuid)

    def _one(self, conn: psycopg.Connection[Any], statement: str, *values: object) -> tuple[Any, ...]:
        row = conn.execute(statement, values).fetchone()
        assert row is not None
        return row


def settings_for(dsn: str, hostwinds: Emulated, folder: Path) -> dict[str, str]:
    """Complete settings, in a hurry: one look per step, half a second for an answer."""
    receiver = {
        "address": "proof@receiver.example", "authserv_id": "mx.receiver.example", "mx": "mx.receiver.example",
        "imap_host": "imap.receiver.example", "username": "proof", "password": "CANARY-receiver-password",
    }  # fmt: skip
    values = {
        "DATABASE__CORE_DSN": dsn,
        "SEALING__KEYS": json.dumps({"k1": SEALING_KEY}),
        "HOSTWINDS__API_KEY": hostwinds.played.provider.api_key,
        "HOSTWINDS__BASE_URL": hostwinds.url,
        "HOSTWINDS__SANDBOX": "true",
        "HOSTWINDS__TEMPLATE": "debian-12",
        "HOSTWINDS__RID": "52",
        "HOSTWINDS__LOCATION_ID": "12",
        "HOSTWINDS__ENVIRONMENT": "test",
        "HOSTWINDS__PORT25_PROBE_HOSTS": '["mx.receiver.example"]',
        "HOSTWINDS__RATE_PER_SECOND": "1000",
        "HOSTWINDS__BURST": "1000",
        "HOSTWINDS__POLL_FIRST_SECONDS": "100",  # longer than a step's patience: exactly one look
        "HOSTWINDS__POLL_MAX_SECONDS": "100",
        "HOSTWINDS__READY_ROUNDS_APART_SECONDS": "0",
        "HOSTWINDS__READ_TIMEOUT_SECONDS": "2",
        "HOSTWINDS__CREATE_TIMEOUT_SECONDS": "2",
        "SSH__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "SSH__WORKER_NETWORKS": '["127.0.0.1/32"]',
        "MAIL__PROOF_RECEIVERS": json.dumps([receiver]),
        "MAIL_HOST__CERTIFICATE_ISSUER": "private_ca",
        "MAIL_HOST__PRIVATE_CA_CERT_FILE": str(folder / "ca.pem"),
        "MAIL_HOST__PRIVATE_CA_KEY_FILE": str(folder / "ca.key"),
    }
    return {f"PENGUINMAILS_{name}": value for name, value in values.items()}


@pytest.fixture
def product(
    database: str, hostwinds: Emulated, prefect_api: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Product]:
    """An installation that can order servers, which then stay in the making."""
    from flows import resources

    installed = Product(database, hostwinds, monkeypatch, settings_for(database, hostwinds, tmp_path))
    installed.configure()
    yield installed
    resources.settings.cache_clear()


def started(work: Callable[..., None], *args: object) -> BaseProcess:
    """A process of its own, forked from one that has Prefect imported: seconds less than a fresh interpreter."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flows.onboard", "tests.support.product"])
    process = context.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def killed(process: BaseProcess) -> None:
    """kill -9, and gone."""
    process.kill()
    process.join(30)
    assert process.exitcode == -9, f"the process ended by itself with {process.exitcode}"


def onboard_in_child(settings: dict[str, str], tenant: UUID) -> None:
    """What a worker does."""
    import asyncio

    os.environ |= settings
    from flows.onboard import onboard_tenant

    state = asyncio.run(onboard_tenant(tenant, return_state=True))
    sys.exit(0 if state.is_completed() else 1)


def blocked(dsn: str, statements: int = 1) -> bool:
    """Whether so many statements of the product wait for a lock."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row is not None and row[0] >= statements


__all__ = ["Customer", "Product", "blocked", "killed", "started", "until"]
