"""proof: a tenant's delivery as one file that a stranger can check, offline."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.commands.status import TenantWord, known_tenant
from flows.commands.terminal import Exit, out, run, stop
from flows.policy.proof import Spoiled
from flows.policy.verdict import Truth
from flows.proving import Examined, bundle_of, examined
from flows.resources import resources
from providers.errors import Rejected

MARKS = {Truth.PASS: "pass", Truth.FAIL: "FAIL", Truth.UNKNOWN: "not known"}


class WritesByDefault(TyperGroup):
    """`proof TENANT` is `proof write TENANT`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What the words mean: a command of this group, or a tenant."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["write", *args])


app = typer.Typer(
    cls=WritesByDefault,
    no_args_is_help=True,
    help="Proof of delivery as one file: raw messages, DNS answers, certificates, verdicts. `proof TENANT` writes it.",
)


@app.command()
def write(
    tenant: TenantWord,
    to: Annotated[Path | None, typer.Option("--to", help="the file; without it proof-NAME.zip here")] = None,
) -> None:
    """Write the newest passing proof of every domain, address and receiver into one signed file."""
    run(_write(tenant, to))


async def _write(word: str, to: Path | None) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        try:
            raw = await bundle_of(r, tenant)
        except Rejected as error:
            stop(Exit.REJECTED, f"{error.detail}: python -m flows status {word}")
    file = to or Path(f"proof-{''.join(c if c.isalnum() else '-' for c in tenant.name.lower())}.zip")
    file.write_bytes(raw)
    report = examined(raw)
    out.print(f"{file}: {len(report.paths)} proofs, signed by {report.fingerprint}", markup=False)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="what `proof TENANT` wrote")],
    key: Annotated[str | None, typer.Option(help="fingerprint of the signing key, as its owner told you")] = None,
) -> None:
    """Check a bundle by itself, offline: hashes, signature, DKIM against the DNS answers in it, every verdict anew."""
    try:
        report = examined(file.read_bytes(), key)
    except OSError as error:
        stop(Exit.USAGE, f"{file}: {error.strerror}")
    except Spoiled as error:
        stop(Exit.FAILED, f"{file} proves nothing: {error}")
    for path in report.paths:
        show(path)
    out.print(f"about {report.about.get('name')} ({report.about.get('tenant')})", markup=False)
    checked = "as you expect" if key else "compare it with what its owner tells you (--key)"
    out.print(f"signed by {report.fingerprint}: {checked}", markup=False)
    if any(path.truth is not Truth.PASS for path in report.paths):
        stop(Exit.FAILED, "not every path is proven")


def show(path: Examined) -> None:
    """One path with its verdicts."""
    out.print(f"{MARKS[path.truth]}  {path.sentence}", markup=False)
    for verdict in path.verdicts:
        found = ", ".join(verdict.found)
        out.print(f"      {MARKS[verdict.truth]:<9} {verdict.subject:<18} {verdict.fix or found}", markup=False)
