"""return-path: the envelope sender of one message, as the domain's host accepts it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flows import vault
from flows.commands.status import known_tenant
from flows.commands.terminal import Exit, out, run, stop
from flows.onboarding.desired import return_path_keys_path
from flows.policy import verp
from flows.resources import resources


def return_path(
    tenant: Annotated[str, typer.Argument(help="name, domain or tenants.tenant_id")],
    domain: Annotated[str, typer.Argument(help="the sending domain")],
    reference: Annotated[int, typer.Argument(min=0, help="which message it is: emails.id, or a UUID as a number")],
) -> None:
    """Print the signed return path of one message, good for its bounces until it expires."""
    run(_print(tenant, domain.lower(), reference))


async def _print(word: str, domain: str, reference: int) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        keys = await vault.fetch(r, tenant_id=tenant.id, path=return_path_keys_path(domain))
    if keys is None:
        stop(Exit.REJECTED, f"{domain} of {tenant.name} has no key for return paths: its mailboxes come first")
    newest = bytes.fromhex(keys.get_secret_value().split()[0])
    today = datetime.now(UTC).date()
    out.print(verp.return_path(newest, domain=domain, reference=reference, sent_on=today), markup=False, soft_wrap=True)
