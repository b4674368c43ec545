"""Everything of a world that may be read, and every secret that its installations keep."""

import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sql.embedded import WHEEL, WHEEL_SERVER
from tests.support.world import Lab
from tests.support.world_secrets import files_below

# The server's own version: found, not imported, for the wheel warns about its surroundings.
PG_DUMP = Path(getattr(find_spec(WHEEL), "origin", "")).parent / WHEEL_SERVER / "bin/pg_dump"
READ_ON_HOST = """
journalctl --no-pager -o export 2>/dev/null
find /var/log /run/log /root/.*history /var/lib/penguin -type f -size -20M -exec cat {} + 2>/dev/null
:
"""


def stored(lab: Lab) -> dict[str, str]:
    """Everything in an installation's sealed store, the tenants' and the platform's own, opened."""
    rows = lab.rows(
        "SELECT tenant_id::text, vault_key_path AS path FROM secrets WHERE backend = 'sealed'"
        " UNION ALL SELECT '', vault_key_path FROM platform_secrets WHERE backend = 'sealed'"
    )
    keys = [f"{row['tenant_id']}:{row['path']}" for row in rows]
    ran = lab.python("tests.support.world_product", "secret", *keys)
    assert ran.code == 0, ran.err
    return {f"{lab.product.folder.name} {key}": value for key, value in json.loads(ran.out).items()}


def places(lab: Lab, quiet: Lab) -> Iterator[tuple[str, bytes]]:
    """What was printed, dumps, Prefect's databases with their artifacts, logs, journals, histories, arguments seen."""
    for one in (lab, quiet):
        yield f"output of {one.product.folder.name}", "\n".join(one.printed).encode()
        dump = subprocess.run([PG_DUMP, "--dbname", one.dsn], capture_output=True, timeout=120, check=True)
        yield f"dump of {one.product.folder.name}", dump.stdout
    for folder in Path(lab.world.info["state_dir"]).iterdir():
        if (folder / "prefect").is_dir() or folder.name in {"product", "quiet", "worker"}:
            yield from files_below(folder / "prefect")
            yield from ((str(log), log.read_bytes()) for log in folder.glob("*.log"))
    for log in lab.product.folder.rglob("server.log"):
        yield str(log), log.read_bytes()
    for server in lab.admin.servers():
        if not lab.world.hosts.running(server["host"]):
            continue  # it was never built
        code, out, _ = lab.world.exec(server["host"], READ_ON_HOST)
        assert code == 0
        yield f"logs of {server['label']}", out
        yield (
            f"console of {server['label']}",
            lab.world.state.host_folder(server["host"]).joinpath("console.log").read_bytes(),
        )
    yield "process arguments", b"\n".join(lab.arguments.seen)
