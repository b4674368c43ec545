"""A tenant who publishes by hand: asked for ownership first, told its slip in one line, taken up again by itself."""

import json
import time

import dns.rdatatype
import dns.zone
import pytest

from tests.support.world import DONE, PATIENCE_SECONDS, WAITING, Lab, Ran, Tenant
from tests.support.world_prefect import ended, start

DUE = "UPDATE provisioning_runs SET resume_at = now() WHERE tenant_id = %s AND status = 'waiting' RETURNING id"
OVERDUE = "UPDATE provisioning_runs SET deadline_at = now() WHERE tenant_id = %s RETURNING id"


def records_of(lab: Lab, tenant: Tenant) -> list[dict]:
    """What the product tells the tenant to publish."""
    told = lab.flows("dns", "records", tenant.domain, "--format", "json")
    assert told.code == DONE, told.said
    return json.loads(told.out)


def publish(lab: Lab, tenant: Tenant, *, appended: bool) -> None:
    """Enter every record at the panel; `appended`: under its full name, to which the panel adds the domain again."""
    sets: dict[tuple[str, str], list[str]] = {}
    for record in records_of(lab, tenant):
        entered = f"{record['name'].rstrip('.')}" if appended else record["enter"]
        sets.setdefault((entered, record["type"]), []).extend(record["values"])
    lab.world.dns_update(tenant.domain, replace=[(owner, kind, values) for (owner, kind), values in sets.items()])
    lab.world.zones.flush(tenant.domain)


def swept(lab: Lab) -> None:
    """What the scheduler does every two minutes."""
    assert ended(lab, start(lab, "resume_waiting/on-event"))["type"] == "COMPLETED"


class Story:
    """What was said on the way."""

    def __init__(self, lab: Lab, tenant: Tenant) -> None:
        self.lab, self.tenant = lab, tenant
        self.first: Ran = lab.onboard(tenant)
        self.unpublished = str(lab.run_of(tenant)["wait_detail"])
        self.zone_file = lab.flows("dns", "records", tenant.domain, "--format", "zone").out
        publish(lab, tenant, appended=True)
        self.mistaken: Ran = lab.onboard(tenant)
        self.slip = str(lab.run_of(tenant)["wait_detail"])
        self.table = lab.flows("dns", "records", tenant.domain).out


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    return Story(lab, lab.add_tenant("hand", by_hand=True))


def test_ownership_is_asked_for_before_anything_is_done_under_the_name(story: Story) -> None:
    assert story.first.code == WAITING, story.first.said
    assert "_pm-verify.hand.example" in story.unpublished
    assert "python -m flows dns records hand.example" in story.unpublished
    steps = story.lab.rows("SELECT step_key FROM provisioning_steps WHERE tenant_id = %s", story.tenant.id)
    assert "set_reverse_dns" not in {step["step_key"] for step in steps}


def test_the_slip_of_a_panel_that_appends_the_zone_is_named_with_its_cure(story: Story) -> None:
    assert story.mistaken.code == WAITING, story.mistaken.said
    assert "found it at _pm-verify.hand.example.hand.example" in story.slip
    assert 'the panel appends the zone: enter only "_pm-verify"' in story.slip
    assert 'enter only "mail"' in story.table
    assert story.table.count("the panel appends the zone") > 5


def test_the_lines_for_a_zone_file_load_as_they_are(story: Story) -> None:
    head = "@ 60 IN SOA ns.lab.example. h.lab.example. 1 60 60 60 5\n@ 60 IN NS ns.lab.example.\n"
    zone = dns.zone.from_text(head + story.zone_file, "hand.example.", relativize=False)
    loaded = {(str(name).rstrip("."), dns.rdatatype.to_text(found.rdtype)) for name, found in zone.iterate_rdatasets()}
    wanted = {(record["name"].rstrip("."), record["type"]) for record in records_of(story.lab, story.tenant)}
    assert loaded - {("hand.example", "SOA"), ("hand.example", "NS")} == wanted


def test_the_cure_is_taken_up_without_a_command(story: Story) -> None:
    lab, tenant = story.lab, story.tenant
    publish(lab, tenant, appended=False)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while lab.run_of(tenant)["status"] != "succeeded" and time.monotonic() < deadline:
        if lab.rows(DUE, tenant.id):
            swept(lab)
        time.sleep(0.5)
    assert lab.run_of(tenant)["status"] == "succeeded", lab.run_of(tenant)["wait_detail"]
    assert lab.instance_of(tenant)["status"] == "active"
    assert [proof["verdict"] for proof in lab.proofs_of(tenant)] == ["pass"]


def test_a_run_whose_tenant_never_publishes_ends_at_the_deadline_with_a_sentence(story: Story) -> None:
    lab = story.lab
    tenant = lab.add_tenant("never", by_hand=True)
    assert lab.onboard(tenant).code == WAITING
    assert lab.run_of(tenant)["deadline_at"] is not None
    lab.rows(OVERDUE, tenant.id)
    swept(lab)
    run = lab.run_of(tenant)
    assert (run["status"], run["wait_reason"]) == ("failed", None)
    assert run["last_error_message"].startswith("waited for dns until the deadline: never.example own: expected pm-ve")
    assert run["last_error_message"].endswith(f"; once it is: python -m flows retry {run['id']}")
    assert "waited for dns until the deadline" in lab.flows("status", tenant.uuid).out
    assert lab.instance_of(tenant)["status"] == "provisioning"
    retried = lab.flows("retry", str(run["id"]))
    assert retried.code == WAITING, retried.said
    assert lab.run_of(tenant)["id"] == run["id"]
    assert lab.bought_for(tenant) == ["server"]
