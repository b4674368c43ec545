"""After everything: no secret that was used lies open anywhere it might be read, and a planted one is found."""

import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from sql.embedded import WHEEL, WHEEL_SERVER
from tests.support.world import DONE, Lab, Tenant
from tests.support.world_secrets import files_below, forms, leaks

# The server's own version: found, not imported, for the wheel warns about its surroundings.
PG_DUMP = Path(getattr(find_spec(WHEEL), "origin", "")).parent / WHEEL_SERVER / "bin/pg_dump"
READ_ON_HOST = """
journalctl --no-pager -o export 2>/dev/null
find /var/log /run/log /root/.*history /var/lib/penguin -type f -size -20M -exec cat {} + 2>/dev/null
:
"""
PLANTED = "Planted-8dK3/v+Lq=secret"


def stored(lab: Lab) -> dict[str, str]:
    """Everything in an installation's sealed store, opened."""
    rows = lab.rows("SELECT tenant_id, vault_key_path AS path FROM secrets WHERE backend = 'sealed'")
    keys = [f"{row['tenant_id']}:{row['path']}" for row in rows]
    ran = lab.python("tests.support.world_product", "secret", *keys)
    assert ran.code == 0, ran.err
    return {f"{lab.product.folder.name} {key}": value for key, value in json.loads(ran.out).items()}


def provider_passwords(lab: Lab) -> dict[str, str]:
    form = {"action": "get_instances", "API": lab.world.info["api_key"]}
    with lab.world.enter_control(), urlopen(lab.world.info["api_url"], urlencode(form).encode(), timeout=30) as reply:
        rows = json.load(reply)["success"]
    return {f"root password of {row['srvrname']}": row["password"] for row in rows}


@pytest.fixture(scope="module")
def settled(quiet: Lab) -> Tenant:
    """A tenant whose server runs, whichever the stories before left, or one of our own."""
    found = quiet.rows(
        "SELECT t.id, t.tenant_id, t.domain FROM tenants t JOIN vps_instances v ON v.tenant_id = t.id"
        " WHERE v.status = 'active' ORDER BY t.id LIMIT 1"
    )
    if found:
        return Tenant(found[0]["id"], str(found[0]["tenant_id"]), found[0]["domain"])
    tenant = quiet.add_tenant("settled")
    ran = quiet.onboard(tenant)
    assert ran.code == DONE, ran.said
    return tenant


@pytest.fixture(scope="module")
def used(lab: Lab, quiet: Lab) -> dict[str, str]:
    """Every secret of this session, by name."""
    info = lab.world.info
    sealing = json.loads(quiet.product.environment["PENGUINMAILS_SEALING__KEYS"])["k1"]
    embedded = (lab.product.folder / "sealing.key").read_text().strip()
    return {
        "API key": info["api_key"],
        "TSIG key": info["tsig"]["secret"],
        "receiver's password": info["receivers"][0]["password"],
        "sealing key": sealing,
        "embedded sealing key": embedded,
        **provider_passwords(lab),
        **stored(lab),
        **stored(quiet),
    }


def places(lab: Lab, quiet: Lab) -> Iterator[tuple[str, bytes]]:
    """Logs, journals, histories, arguments, Prefect's databases with their artifacts, dumps, and what was printed."""
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
    assert lab.arguments.watched
    yield "process arguments", b"\n".join(lab.arguments.seen)


@pytest.mark.usefixtures("settled")
def test_no_secret_lies_open_anywhere(lab: Lab, quiet: Lab, used: dict[str, str]) -> None:
    kinds = {name.split()[-1].rpartition(":")[2].partition("/")[0] for name in used}
    assert {"ssh", "dkim", "mailbox", "dns", "key"} <= kinds
    assert leaks(used, places(lab, quiet)) == []


@pytest.mark.parametrize("form", sorted(forms(PLANTED)))
def test_a_planted_secret_is_found_in_every_form(lab: Lab, form: bytes) -> None:
    planted = lab.product.folder / "planted.log"
    planted.write_bytes(b"before " + form + b" after")
    found = leaks({"planted": PLANTED}, [(str(planted), planted.read_bytes())])
    planted.unlink()
    assert found == [f"planted in {planted}"]


def test_a_secret_among_arguments_in_a_journal_and_in_a_database_is_found(
    lab: Lab, quiet: Lab, settled: Tenant
) -> None:
    quiet.on_host(settled, f"logger 'password={PLANTED}'; sh -c 'sleep 1; : {PLANTED}'")
    quiet.rows("UPDATE tenants SET name = %s WHERE id = %s RETURNING id", PLANTED, settled.id)
    try:
        found = leaks({"planted": PLANTED}, places(lab, quiet))
    finally:
        quiet.rows("UPDATE tenants SET name = 'settled' WHERE id = %s RETURNING id", settled.id)
    token = quiet.instance_of(settled)["instance_id"]
    assert {"planted in process arguments", "planted in dump of quiet", f"planted in logs of {token}"} <= set(found)
