"""A receiver with moods: the canary waits out greylisting, and what it is told by a refusal reaches a person."""

import json
import time

import pytest

from sandbox.environment import proof_at
from tests.support.world import DONE, FOR_OPERATOR, WAITING, Lab, Tenant

MOODY = "livemail.example"
REFUSAL = "5.7.1 we have never heard of you"
GREYLIST_SECONDS = 12
SENTENCE_LIMIT = 900


def settings(lab: Lab, **more: str) -> dict[str, str]:
    """Proofs at both receivers, and a run that does not stay long."""
    return {
        "PENGUINMAILS_MAIL__PROOF_RECEIVERS": proof_at(lab.world.info["receivers"]),
        "PENGUINMAILS_MAIL__ARRIVAL_WAIT_SECONDS": "6",
        **more,
    }


class Told:
    """What the tenant's run said after each of the receiver's moods."""

    def __init__(self, lab: Lab, tenant: Tenant) -> None:
        self.lab, self.tenant = lab, tenant
        self.sentences: dict[str, str] = {}

    def after(self, mood: str, code: int, **more: str) -> None:
        ran = self.lab.onboard(self.tenant, **settings(self.lab, **more))
        assert ran.code == code, f"{mood}: {ran.said}"
        detail = self.lab.run_of(self.tenant)["wait_detail"] or ""
        assert "\n" not in detail
        assert len(detail) < SENTENCE_LIMIT
        self.sentences[mood] = detail

    @property
    def proofs(self) -> list[tuple[str, str]]:
        return [(proof["receiver"].rpartition("@")[2], proof["verdict"]) for proof in self.lab.proofs_of(self.tenant)]


@pytest.fixture(scope="module")
def told(quiet: Lab) -> Told:
    """One tenant on its way through a refusal, the spam folder and greylisting, until it goes live."""
    story = Told(quiet, quiet.add_tenant("moods"))
    receiver = quiet.world.receiver(MOODY)
    sender = f"{story.tenant.domain}"
    receiver.behave("reject", sender=sender, text=REFUSAL)
    story.after("refused", FOR_OPERATOR)
    story.after("budget", FOR_OPERATOR, PENGUINMAILS_MAIL__CANARIES_PER_DAY="1")
    receiver.behave("junk", sender=sender)
    story.after("junk", FOR_OPERATOR)
    receiver.behave("greylist", sender=sender, seconds=GREYLIST_SECONDS)
    story.after("greylisted", WAITING)
    time.sleep(GREYLIST_SECONDS)
    story.after("live", DONE)
    receiver.clear()
    return story


def test_a_refusal_is_told_in_the_receivers_own_words(told: Told) -> None:
    sentence = told.sentences["refused"]
    assert f"mx.{MOODY} refuses it" in sentence
    assert REFUSAL.partition(" ")[2] in sentence
    assert "python -m flows retry" in sentence


def test_a_receiver_that_refused_is_not_knocked_at_beyond_the_budget(told: Told) -> None:
    assert "was tried 1 times in 24 hours" in told.sentences["budget"]


def test_the_spam_folder_is_no_proof_and_is_named(told: Told) -> None:
    assert "filed it into Junk" in told.sentences["junk"]
    (proof,) = [
        p for p in told.lab.proofs_of(told.tenant) if (p["checks"].get("placement") or {}).get("truth") == "fail"
    ]
    assert (proof["verdict"], proof["checks"]["placement"]["reason"]) == ("fail", "spam_folder")
    assert {name for name, check in proof["checks"].items() if check["truth"] != "pass"} == {"placement"}


def test_greylisting_is_a_wait_that_says_so_and_the_same_canary_arrives(told: Told) -> None:
    assert f"mx.{MOODY} defers it" in told.sentences["greylisted"]
    assert "greylisted, come back later" in told.sentences["greylisted"]
    # Refused, in Junk, greylisted and then arrived: one canary each at the moody one, and one in all at the other.
    assert sorted(told.proofs) == [
        ("bigmail.example", "pass"), (MOODY, "fail"), (MOODY, "fail"), (MOODY, "pass"),
    ]  # fmt: skip


def test_both_receivers_stand_behind_what_is_live(told: Told) -> None:
    assert told.lab.instance_of(told.tenant)["status"] == "active"
    document = json.loads(told.lab.flows("status", told.tenant.uuid, "--json").out)
    assert {(p["receiver"], p["verdict"]) for p in document["proofs"]} == {
        ("carol@bigmail.example", "pass"), (f"carol@{MOODY}", "pass"),
    }  # fmt: skip


def test_the_bundle_of_both_proofs_convinces_without_a_network(told: Told, tmp_path) -> None:
    file = str(tmp_path / "proof.zip")
    made = told.lab.flows("proof", told.tenant.uuid, "--to", file)
    assert made.code == DONE, made.said
    checked = told.lab.flows("proof", "verify", file, PENGUINMAILS_DNS__RESOLVER="192.0.2.1")
    assert checked.code == DONE, checked.said
    assert checked.out.count("pass  moods.example from 198.51.100.") == 2
