"""The platform's account key at an authority: made once, sealed before it is used, opened for one use."""

from urllib.parse import urlsplit

from pydantic import SecretStr

from flows import vault
from flows.resources import Resources, direct_dsn
from providers.acme import new_account_key
from sql.session import as_orchestrator, change_lock

PURPOSE = "acme_account_key"


async def account_key(r: Resources, directory: str) -> SecretStr:
    """The key of our account at this authority; two workers that need the first one get the same."""
    path = key_path(directory)
    if present := await vault.fetch(r, tenant_id=None, path=path):
        return present
    async with change_lock(await direct_dsn(), "acme-account"):
        if present := await vault.fetch(r, tenant_id=None, path=path):
            return present
        key = new_account_key()
        async with as_orchestrator(r.pool) as conn:
            await vault.store(r, conn, tenant_id=None, purpose=PURPOSE, path=path, secret=key)
        return key


def key_path(directory: str) -> str:
    """Where the key of an authority is sealed; another authority is another account."""
    found = urlsplit(directory)
    return f"acme/{found.netloc}{found.path}"
