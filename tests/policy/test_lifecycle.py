from enum import StrEnum

import pytest

from flows.policy import lifecycle
from flows.policy.lifecycle import (
    ALLOWED,
    AddressStatus,
    DkimKeyStatus,
    DomainStatus,
    InstanceStatus,
    MailboxStatus,
    OrderState,
    RunStatus,
    StepStatus,
    allowed_from,
    is_terminal,
    may_become,
    moves,
    reachable,
)

SUBJECTS = [
    thing
    for thing in vars(lifecycle).values()
    if isinstance(thing, type) and issubclass(thing, StrEnum) and thing is not StrEnum
]
EVERY_WORD = [word for subject in SUBJECTS for word in subject]
FIRST = (
    InstanceStatus.REQUESTED, AddressStatus.AVAILABLE, DomainStatus.PENDING, MailboxStatus.PENDING,
    DkimKeyStatus.GENERATED, RunStatus.PENDING, StepStatus.PENDING, OrderState.INTENDED,
)  # fmt: skip
LAST = {
    InstanceStatus: {InstanceStatus.DECOMMISSIONED},
    AddressStatus: {AddressStatus.RELEASED},
    DomainStatus: {DomainStatus.DELETED},
    MailboxStatus: {MailboxStatus.DELETED},
    DkimKeyStatus: {DkimKeyStatus.DELETED},
    RunStatus: {RunStatus.SUCCEEDED, RunStatus.CANCELLED},
    StepStatus: set(),
    OrderState: {OrderState.FULFILLED},
}


def test_every_subject_has_its_table():
    assert set(SUBJECTS) == set(ALLOWED) == set(LAST) == {type(word) for word in FIRST}


@pytest.mark.parametrize("first", FIRST, ids=lambda word: type(word).__name__)
def test_every_word_can_be_reached_from_the_first(first):
    assert reachable(first) == set(type(first))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_only_the_known_words_are_terminal(subject):
    assert {word for word in subject if is_terminal(word)} == LAST[subject]


@pytest.mark.parametrize("new", EVERY_WORD, ids=lambda word: f"{type(word).__name__}.{word}")
def test_both_directions_tell_the_same(new):
    assert set(allowed_from(new)) == {old for old in type(new) if may_become(old, new)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (InstanceStatus.REQUESTED, InstanceStatus.ACTIVE),
        (InstanceStatus.ACTIVE, InstanceStatus.DECOMMISSIONED),
        (InstanceStatus.DECOMMISSIONED, InstanceStatus.ACTIVE),
        (InstanceStatus.SCHEDULED_DECOMMISSION, InstanceStatus.FAILED),
        (AddressStatus.BURNED, AddressStatus.WARMING),
        (AddressStatus.RELEASED, AddressStatus.AVAILABLE),
        (AddressStatus.WARMING, AddressStatus.BURNED),
        (DomainStatus.VERIFIED, DomainStatus.ERROR),
        (DomainStatus.FAILED, DomainStatus.ERROR),
        (DomainStatus.VERIFIED, DomainStatus.PENDING),
        (DkimKeyStatus.GENERATED, DkimKeyStatus.ACTIVE),
        (DkimKeyStatus.PUBLISHED, DkimKeyStatus.ACTIVE),
        (DkimKeyStatus.REVOKED, DkimKeyStatus.ACTIVE),
        (MailboxStatus.SUSPENDED, MailboxStatus.PAUSED),
        (RunStatus.WAITING, RunStatus.SUCCEEDED),
        (RunStatus.SUCCEEDED, RunStatus.RUNNING),
        (StepStatus.PENDING, StepStatus.SUCCEEDED),
        (StepStatus.UNCONFIRMED, StepStatus.PENDING),
        (OrderState.UNCONFIRMED, OrderState.CALLING),
        (OrderState.UNCONFIRMED, OrderState.INTENDED),
        (OrderState.FULFILLED, OrderState.CALLING),
        (OrderState.CALLING, OrderState.CALLING),
        (OrderState.REJECTED, OrderState.CALLING),
    ],
)
def test_what_must_never_follow_does_not(old, new):
    assert not may_become(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (InstanceStatus.FAILED, InstanceStatus.PROVISIONING),
        (AddressStatus.QUARANTINED, AddressStatus.WARMING),
        (DomainStatus.ERROR, DomainStatus.VERIFIED),
        (DkimKeyStatus.VERIFIED, DkimKeyStatus.ACTIVE),
        (RunStatus.FAILED, RunStatus.RUNNING),
        (RunStatus.RUNNING, RunStatus.RUNNING),
        (StepStatus.RUNNING, StepStatus.RUNNING),
        (OrderState.CALLING, OrderState.INTENDED),
        (OrderState.CALLING, OrderState.UNCONFIRMED),
        (OrderState.NEEDS_OPERATOR, OrderState.FULFILLED),
    ],
)
def test_what_must_be_able_to_follow_does(old, new):
    assert may_become(old, new)


def test_a_second_call_needs_a_new_arming():
    assert allowed_from(OrderState.CALLING) == (OrderState.INTENDED,)


def test_words_of_two_subjects_never_mix():
    assert MailboxStatus.ACTIVE == InstanceStatus.ACTIVE
    assert not may_become(MailboxStatus.PENDING, InstanceStatus.ACTIVE)


def test_an_unknown_word_in_a_table_is_refused():
    with pytest.raises(ValueError, match="actve"):
        moves(MailboxStatus, pending="actve")
