"""Secrets between the sealer and their rows: opened for one use, stored only sealed."""

from uuid import UUID

from pydantic import SecretStr

from flows.resources import Resources
from providers.keys import Sealed
from sql import sealed_secrets
from sql.session import Connection, as_orchestrator


async def store(
    r: Resources, conn: Connection, *, tenant_id: int | None, purpose: str, path: str, secret: SecretStr
) -> UUID:
    """Seal a secret and write its row; the same path again replaces it."""
    sealed = r.sealer.seal(secret.get_secret_value().encode(), tenant=owner(tenant_id), purpose=purpose, path=path)
    return await sealed_secrets.put_secret(
        conn, tenant_id=tenant_id, purpose=purpose, path=path, key_id=sealed.key_id, ciphertext=sealed.ciphertext
    )


async def fetch(r: Resources, *, tenant_id: int | None, path: str) -> SecretStr | None:
    """Open the secret at a path; None when there is none."""
    async with as_orchestrator(r.pool) as conn:
        row = await sealed_secrets.get_secret(conn, tenant_id=tenant_id, path=path)
    if row is None:
        return None
    sealed = Sealed(row.key_id, row.ciphertext)
    plain = r.sealer.open(sealed, tenant=owner(tenant_id), purpose=row.purpose, path=path)
    return SecretStr(plain.decode())


async def fetch_sure(r: Resources, *, tenant_id: int | None, path: str) -> SecretStr:
    """The same where a row must exist."""
    secret = await fetch(r, tenant_id=tenant_id, path=path)
    if secret is None:
        raise LookupError(f"no secret at {path}")
    return secret


def owner(tenant_id: int | None) -> str:
    """The tenant as it is bound into the seal; the platform is the empty one."""
    return "" if tenant_id is None else str(tenant_id)
