"""Plays the product's back end: writes what a tenant bought and wants, and reads what came of it, by tables alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMITS = {"servers": 1, "ips": 4, "domains": 5, "mailboxes": 25}


class Backend:
    """One web application's view of the database."""

    def __init__(self, dsn: str) -> None:
        """`dsn`: as `python -m flows database` prints it."""
        self._dsn = dsn

    def sign_up(
        self, name: str, domain: str, mailboxes: Sequence[str], *, more_domains: Sequence[str] = (), ips: int = 1
    ) -> str:
        """Write a paying tenant with its domains and the mailboxes of each; return tenants.tenant_id."""
        with psycopg.connect(self._dsn) as conn:
            plan = _value(
                conn.execute(
                    "INSERT INTO plans (plan_name, price, limits) VALUES ('starter', 49, %s)"
                    " ON CONFLICT (plan_name) DO UPDATE SET price = EXCLUDED.price RETURNING id",
                    [json.dumps(LIMITS)],
                )
            )
            made = conn.execute(
                "INSERT INTO tenants (name, domain, settings) VALUES (%s, %s, %s) RETURNING id, tenant_id",
                [name, domain, json.dumps({"infrastructure": {"ips": ips}})],
            ).fetchone()
            if made is None:
                raise LookupError("INSERT … RETURNING gave no row")
            key, tenant = made
            conn.execute(
                "INSERT INTO subscriptions (tenant_id, plan_id, expires_at)"
                " VALUES (%s, %s, now() + interval '30 days')",
                [key, plan],
            )
            for place, owned in enumerate((domain, *more_domains)):
                conn.execute(
                    "INSERT INTO domains (tenant_id, domain_name, is_primary) VALUES (%s, %s, %s)",
                    [key, owned, place == 0],
                )
                for local in mailboxes:
                    conn.execute(
                        "INSERT INTO email_accounts (tenant_id, email_address, status) VALUES (%s, %s, 'pending')",
                        [key, f"{local}@{owned}"],
                    )
        return str(tenant)

    def use_dns_host(self, domain: str, *, server: str, key_name: str, secret_path: str) -> None:
        """Say that a domain is published by RFC 2136 updates."""
        settings = {"server": server, "key_name": key_name, "secret_path": secret_path}
        with psycopg.connect(self._dsn) as conn:
            conn.execute(
                "UPDATE domains SET dns_host = 'rfc2136', dns_host_settings = %s WHERE domain_name = %s",
                [json.dumps(settings), domain],
            )

    def records_to_publish(self, domain: str) -> list[dict[str, Any]]:
        """What the web application shows a tenant who publishes by hand."""
        rows = self.rows("SELECT dns_records -> 'records' AS records FROM domains WHERE domain_name = %s", domain)
        return list(rows[0]["records"] or []) if rows else []

    def run_of(self, domain: str) -> dict[str, Any]:
        """The newest run of a domain's tenant; empty before there is one."""
        rows = self.rows(
            "SELECT r.id, r.status, r.wait_reason, coalesce(r.wait_detail, r.last_error_message, '') AS detail"
            " FROM provisioning_runs r JOIN domains d USING (tenant_id) WHERE d.domain_name = %s"
            " ORDER BY r.created_at DESC LIMIT 1",
            domain,
        )
        return rows[0] if rows else {}

    def server_of(self, domain: str) -> dict[str, Any]:
        """The server row of a domain's tenant; empty before it is ordered."""
        rows = self.rows(
            "SELECT v.instance_id, v.hostwind_id, v.status FROM vps_instances v JOIN domains d USING (tenant_id)"
            " WHERE d.domain_name = %s",
            domain,
        )
        return rows[0] if rows else {}

    def proofs(self, domain: str) -> list[dict[str, Any]]:
        """The stored proofs of a domain, newest first, the raw message included."""
        return self.rows(
            "SELECT p.* FROM delivery_proofs p JOIN domains d ON d.id = p.domain_id"
            " WHERE d.domain_name = %s ORDER BY p.id DESC",
            domain,
        )

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Any question to the tables."""
        with psycopg.connect(self._dsn) as conn:
            return conn.cursor(row_factory=dict_row).execute(statement.encode(), values).fetchall()


def _value(cursor: psycopg.Cursor[Any]) -> object:
    row = cursor.fetchone()
    return row[0] if row else None
