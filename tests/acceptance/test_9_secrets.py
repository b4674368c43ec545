"""After everything: no secret that was used lies open anywhere it might be read, and a planted one is found."""

import json
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.support.world import DONE, Lab, Tenant
from tests.support.world_leaks import places, stored
from tests.support.world_prefect import ask
from tests.support.world_secrets import forms, leaks

PLANTED = "Planted-8dK3/v+Lq=secret"
TYPED = "Typed-5xW9/q+Zr=secret"


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


@pytest.mark.usefixtures("settled")
def test_no_secret_lies_open_anywhere(lab: Lab, quiet: Lab, used: dict[str, str]) -> None:
    kinds = {name.split()[-1].rpartition(":")[2].partition("/")[0] for name in used}
    assert {"ssh", "dkim", "mailbox", "dns", "key"} <= kinds
    assert lab.arguments.watched
    assert leaks(used, places(lab, quiet)) == []


@pytest.mark.parametrize("form", sorted(forms(PLANTED)))
def test_a_planted_secret_is_found_in_every_form(lab: Lab, form: bytes) -> None:
    planted = lab.product.folder / "planted.log"
    planted.write_bytes(b"before " + form + b" after")
    found = leaks({"planted": PLANTED}, [(str(planted), planted.read_bytes())])
    planted.unlink()
    assert found == [f"planted in {planted}"]


def test_a_secret_is_found_among_arguments_in_a_journal_in_a_shells_history_and_in_both_databases(
    lab: Lab, quiet: Lab, settled: Tenant
) -> None:
    quiet.on_host(settled, f"logger 'password={PLANTED}'; sh -c 'sleep 1; : {PLANTED}'")
    quiet.on_host(settled, "cat >> /root/.bash_history", f"export PASSWORD={TYPED}\n".encode())
    quiet.rows("UPDATE tenants SET name = %s WHERE id = %s RETURNING id", PLANTED, settled.id)
    ask(lab, "/artifacts/", key="planted", type="markdown", data=f"the password is {PLANTED}")
    try:
        found = leaks({"planted": PLANTED, "typed": TYPED}, places(lab, quiet))
    finally:
        quiet.rows("UPDATE tenants SET name = 'settled' WHERE id = %s RETURNING id", settled.id)
    token = quiet.instance_of(settled)["instance_id"]
    assert {
        "planted in process arguments",
        "planted in dump of quiet",
        "planted in prefect.db:artifact",
        f"planted in logs of {token}",
    } <= set(found)
    assert [one for one in found if one.startswith("typed")] == [f"typed in logs of {token}"]
