"""Opens pool and providers from Settings; the only reader of Settings."""

import asyncio
import base64
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from flows.redact import redactor
from flows.settings import DSNS, Database, Settings
from flows.vps_terms import VpsTerms, terms_of
from providers.blocklists import Blocklists
from providers.hostwinds import Hostwinds
from providers.keys import Sealer
from providers.object_store import ObjectStore, S3Access
from providers.resolver import Resolver
from providers.ssh import Ssh
from providers.vps import VpsProvider
from sql.embedded import embedded_dsn
from sql.migration_files import Target
from sql.session import Pool, open_pool, password_in

EMBEDDED_KEY_ID = "embedded-1"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything a step may use; opened once per flow, never a step's argument."""

    settings: Settings
    pool: Pool
    analytics: Pool  # analytics, notices and the job queue; the same pool where it is the same database
    vps: VpsProvider
    terms: VpsTerms  # with that provider
    ssh: Ssh
    resolver: Resolver
    blocklists: Blocklists
    sealer: Sealer


_open: ContextVar[Resources | None] = ContextVar("open_resources", default=None)


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    found = Settings()
    redactor.learn(known_secrets(found))
    return found


def known_secrets(found: Settings) -> list[str]:
    """Secret values of the settings, for the log's last net."""
    receivers = (receiver.password for receiver in found.mail.proof_receivers)
    lists = (found.blocklists.spamhaus_dqs_key, found.blocklists.abusix_key)
    values = (*lists, found.hostwinds.api_key, *found.sealing.keys.values(), *receivers, found.notices.smtp_password,
              found.backup.s3_secret_access_key)  # fmt: skip
    return [value.get_secret_value() for value in values] + dsn_passwords(found.database)


def dsn_passwords(database: Database) -> list[str]:
    """Passwords inside connection strings: a driver's error may quote one."""
    dsns: list[SecretStr | None] = [getattr(database, name) for name in DSNS]
    found = [password_in(dsn.get_secret_value()) for dsn in dsns if dsn]
    return [form for password in found if password for form in (password, quote(password, safe=""), quote(password))]


async def core_dsn() -> str:
    """Where the core tables are; starts the embedded server when no DSN is set."""
    database = settings().database
    if database.core_dsn:
        return database.core_dsn.get_secret_value()
    return await asyncio.to_thread(embedded_dsn, database.embedded_dir)


async def analytics_dsn() -> str:
    """Where analytics, notifications and the queue are; the core database unless told otherwise."""
    dsn = settings().database.analytics_dsn
    return dsn.get_secret_value() if dsn else await core_dsn()


async def direct_dsn() -> str:
    """A connection that no transaction pooler stands in: session locks need it."""
    dsn = settings().database.core_listen_dsn
    return dsn.get_secret_value() if dsn else await core_dsn()


async def listen_dsn() -> str:
    """The same for the database of the job queue: notices of new jobs need it."""
    dsn = settings().database.analytics_listen_dsn
    return dsn.get_secret_value() if dsn else await analytics_dsn()


async def migration_dsn(target: Target) -> str:
    """The login that may become the owner: for the schema, and for dumps and restores."""
    database = settings().database
    special = database.core_migration_dsn if target == "core" else database.analytics_migration_dsn
    if special:
        return special.get_secret_value()
    return await (core_dsn() if target == "core" else analytics_dsn())


def object_store() -> ObjectStore:
    """Where dumps are kept."""
    group = settings().backup
    access = S3Access(group.s3_endpoint, group.s3_region, group.s3_access_key_id, group.s3_secret_access_key)
    place = group.store or str(settings().database.embedded_dir.parent / "backups")
    return ObjectStore(place, access, timeout_seconds=group.timeout_seconds)


def sealing_keys() -> tuple[Mapping[str, bytes], str]:
    """Keys by id and the active id; embedded mode makes one at the first start."""
    sealing = settings().sealing
    if sealing.keys:
        keys = {name: base64.b64decode(value.get_secret_value()) for name, value in sealing.keys.items()}
        return keys, sealing.active_key_id or next(iter(keys))
    if settings().database.core_dsn:
        raise ValueError(
            "sealing.keys is empty and database.core_dsn is set: secrets have no key. "
            'Make one with: openssl rand -base64 32, and set PENGUINMAILS_SEALING__KEYS=\'{"k1": "…"}\''
        )
    return {EMBEDDED_KEY_ID: _embedded_key(settings().database.embedded_dir.parent / "sealing.key")}, EMBEDDED_KEY_ID


def _embedded_key(file: Path) -> bytes:
    """Read the key, or make it: it appears whole or not at all, and the first of several processes decides it."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".sealing-", dir=file.parent)  # mode 0600
        with os.fdopen(handle, "wb") as out:
            out.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)))
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            file.hardlink_to(draft)
        Path(draft).unlink()
    key = base64.b64decode(file.read_bytes())
    if len(key) != KEY_BYTES:
        raise ValueError(f"{file} holds no key of {KEY_BYTES} bytes: put it back from a backup, sealed secrets need it")
    return key


@asynccontextmanager
async def resources() -> AsyncGenerator[Resources]:
    """The resources of the flow we are in, or fresh ones that close with this block."""
    if (present := _open.get()) is not None:
        yield present
        return
    async with AsyncExitStack() as stack:
        opened = await _open_all(stack)
        token = _open.set(opened)
        try:
            yield opened
        finally:
            _open.reset(token)


async def _open_all(stack: AsyncExitStack) -> Resources:
    found = settings()
    keys, active = sealing_keys()
    threads = stack.enter_context(ThreadPoolExecutor(found.ssh.threads, thread_name_prefix="ssh"))
    pool = await open_pool(await core_dsn(), part="flows", max_size=found.database.pool_max)
    stack.push_async_callback(pool.close)
    analytics = pool
    if found.database.analytics_dsn:
        analytics = await open_pool(await analytics_dsn(), part="flows", max_size=found.database.pool_max)
        stack.push_async_callback(analytics.close)
    resolver = own_resolver(found)
    ssh = Ssh(
        allowed_networks=found.ssh.allowed_networks or None,
        executor=threads,
        connect_timeout_seconds=found.ssh.connect_timeout_seconds,
    )
    stack.push_async_callback(ssh.close)
    return Resources(
        settings=found,
        pool=pool,
        analytics=analytics,
        vps=await stack.enter_async_context(hostwinds(found)),
        terms=terms_of(found),
        ssh=ssh,
        resolver=resolver,
        blocklists=blocklists(found, resolver),
        sealer=Sealer(keys, active),
    )


def own_resolver(found: Settings) -> Resolver:
    """The recursive resolver of this installation."""
    group = found.dns
    return Resolver([str(group.resolver)], timeout_seconds=group.timeout_seconds, port=group.resolver_port)


def blocklists(found: Settings, resolver: Resolver) -> Blocklists:
    """Blocklists, asked through our own resolver."""
    group = found.blocklists
    return Blocklists(
        resolver,
        keys={"spamhaus_dqs": group.spamhaus_dqs_key, "abusix": group.abusix_key},
        public_mirrors_allowed=group.public_mirrors_allowed,
    )


def hostwinds(found: Settings) -> Hostwinds:
    """The VPS provider of this installation."""
    group = found.hostwinds
    return Hostwinds(
        api_key=group.api_key,
        base_url=group.base_url,
        login_user=group.login_user,
        rate_per_second=group.rate_per_second,
        burst=group.burst,
        connect_timeout_seconds=group.connect_timeout_seconds,
        read_timeout_seconds=group.read_timeout_seconds,
        create_timeout_seconds=group.create_timeout_seconds,
        sandbox=group.sandbox,
        add_ip_action=group.add_ip_action or None,
        add_ip_fields=group.add_ip_fields,
    )
