"""An installation that can be dumped: a database with rows of two tenants and a sealed secret, and a store."""

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from flows import resources
from flows.vault import store as put_secret
from sql.session import as_orchestrator
from tests.support.postgres import add_tenant
from tests.support.s3 import S3Server, s3_server

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Installation:
    """Where it lives, and how a test changes its settings."""

    dsn: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    given: dict[str, str] = field(default_factory=dict)

    def configure(self, **changes: str) -> None:
        self.given.update(changes)
        for name, value in self.given.items():
            self.monkeypatch.setenv(f"PENGUINMAILS_{name}", value)
        resources.settings.cache_clear()

    def keep_in(self, server: S3Server) -> None:
        """Store dumps at this server instead of in the folder."""
        self.configure(
            BACKUP__STORE=server.url, BACKUP__S3_ENDPOINT=server.endpoint, BACKUP__TIMEOUT_SECONDS="30",
            BACKUP__S3_ACCESS_KEY_ID=server.access_key_id, BACKUP__S3_SECRET_ACCESS_KEY=server.secret_access_key,
        )  # fmt: skip

    def rows(self, statement: str) -> list[tuple]:
        """Past row security."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            cursor = conn.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def stored(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*.sealed"))


def fill(dsn: str) -> None:
    acme, beta = add_tenant(dsn, "acme"), add_tenant(dsn, "beta")
    with psycopg.connect(dsn, autocommit=True) as conn:
        for tenant in (acme, beta):
            conn.execute(
                "INSERT INTO leads (tenant_id, email) SELECT %s, n || '@acme.example' FROM generate_series(1, 20) n",
                [tenant.pk],
            )
            conn.execute(
                "INSERT INTO notifications (tenant_id, user_id, type, title, message) VALUES (%s, %s, 'x', 'x', 'x')",
                [tenant.uuid, tenant.uuid],
            )


async def seal_one() -> None:
    async with resources.resources() as r, as_orchestrator(r.pool) as conn:
        await put_secret(
            r, conn, tenant_id=1, purpose="ssh_private_key", path="ssh/1", secret=SecretStr("very-secret-words")
        )


@pytest.fixture
async def installation(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    made = Installation(database, tmp_path / "store", monkeypatch)
    made.configure(
        DATABASE__CORE_DSN=database, SEALING__KEYS=json.dumps({"k1": KEY}), HOSTWINDS__SANDBOX="true",
        HOSTWINDS__BASE_URL="http://127.0.0.1:1/", BACKUP__STORE=str(made.folder),
    )  # fmt: skip
    await asyncio.to_thread(fill, database)
    await seal_one()
    yield made
    resources.settings.cache_clear()


@pytest.fixture(scope="session")
def s3_running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_running: S3Server) -> Iterator[S3Server]:
    yield s3_running
    s3_running.refuse, s3_running.cut, s3_running.alter, s3_running.swallow = frozenset(), False, False, False
