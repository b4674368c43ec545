"""install and serve: what the Prefect server holds for us, and the whole product in one process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from flows.commands.environment import SERVER_ENVIRONMENT
from flows.commands.migrate import guarded
from flows.commands.permission import changes
from flows.commands.server import ensure_server
from flows.commands.terminal import Exit, out, run, stop

ROOT = Path(__file__).resolve().parents[2]
POOL = "penguin"
LOCAL_API = "http://127.0.0.1:4200/api"


@changes("platform.install")
def install(
    pool: Annotated[bool, typer.Option(help="make the work pool and deploy to it, for workers")] = True,
) -> None:
    """Send deployments and automations to the Prefect server at PREFECT_API_URL. Safe to repeat."""
    if not os.environ.get("PREFECT_API_URL"):
        stop(
            Exit.USAGE, f"PREFECT_API_URL is not set: start a server (python -m flows serve) and set it to {LOCAL_API}"
        )
    run(ensure_server())
    if pool:
        deploy()
    run(_install())


def deploy() -> None:
    """Work pool and deployments, as prefect.yaml has them."""
    environment = {**os.environ, **SERVER_ENVIRONMENT, "PENGUINMAILS_ROOT": str(ROOT)}
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    made = subprocess.run(  # noqa: S603  our own interpreter and words
        [*prefect, "work-pool", "create", POOL, "--type", "process", "--overwrite"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        stop(Exit.UNAVAILABLE, f"work pool {POOL}: {(made.stderr or made.stdout).strip()[-300:]}")
    sent = subprocess.run(  # noqa: S603  our own interpreter and words
        [*prefect, "deploy", "--all"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    if sent.returncode != 0:
        stop(Exit.UNAVAILABLE, f"deploy: {(sent.stderr or sent.stdout).strip()[-300:]}")
    out.print(f"work pool {POOL} and the deployments of prefect.yaml stand", markup=False)


async def _install() -> None:
    from flows.automations import install as install_automations  # noqa: PLC0415  Prefect's client is slow to import

    for line in await install_automations():
        out.print(line, markup=False)


@changes("platform.serve")
def serve(
    host: Annotated[str, typer.Option(help="address of the Prefect server when none answers yet")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="its port")] = 4200,
) -> None:
    """Everything on one machine: database, Prefect server, a process that runs the deployments. Ctrl-C ends all."""
    os.environ.update({key: value for key, value in SERVER_ENVIRONMENT.items() if key not in os.environ})
    os.environ.setdefault("PREFECT_API_URL", f"http://{host}:{port}/api")
    # Prefect reads its settings at import: the environment must be complete before this line.
    from flows.serving import serve_all  # noqa: PLC0415  see the line above

    address = urlsplit(os.environ["PREFECT_API_URL"])
    guarded(serve_all(address.hostname or host, address.port or port))
