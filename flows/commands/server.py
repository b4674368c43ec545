"""Whether the Prefect server that this terminal was told of is there, asked before anything is written."""

import os

from flows.commands.terminal import Exit, stop


async def ensure_server() -> None:
    """End the command where PREFECT_API_URL names a server and none answers; without it Prefect starts its own."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    from flows.serving import answers  # noqa: PLC0415  Prefect's client is slow to import

    if not await answers():
        cure = "start it with python -m flows serve, or unset PREFECT_API_URL"
        stop(Exit.UNAVAILABLE, f"no Prefect server answers at {url}; {cure}")
