import pytest

from flows.policy.campaigns import (
    CAMPAIGN_MOVES,
    EMAIL_MOVES,
    CampaignStatus,
    EmailStatus,
    campaign_from,
    email_from,
)


def test_what_has_ended_stays_so():
    for word in (CampaignStatus.COMPLETED, CampaignStatus.CANCELLED):
        assert not CAMPAIGN_MOVES[word]
    for word in (EmailStatus.BOUNCED, EmailStatus.FAILED, EmailStatus.SUPPRESSED, EmailStatus.CANCELLED):
        assert not EMAIL_MOVES[word]


def test_a_message_that_left_is_never_queued_or_cancelled_again():
    assert EMAIL_MOVES[EmailStatus.SENT] == {EmailStatus.BOUNCED}
    assert not email_from(EmailStatus.QUEUED)


def test_a_paused_campaign_may_only_go_on_or_end():
    assert CAMPAIGN_MOVES[CampaignStatus.PAUSED] == {CampaignStatus.RUNNING, CampaignStatus.CANCELLED}


@pytest.mark.parametrize("word", CampaignStatus)
def test_every_word_of_a_campaign_but_the_first_is_reached(word):
    assert campaign_from(word)


def test_nothing_is_sent_that_was_not_being_sent():
    assert email_from(EmailStatus.SENT) == (EmailStatus.SENDING,)
