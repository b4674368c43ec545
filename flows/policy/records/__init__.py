"""DNS records of a domain: what should stand, how ours gets there without harm, and whether it does."""

from flows.policy.dkim import DkimRecord
from flows.policy.records.expected import dated_key, dmarc_start, expected_records, required
from flows.policy.records.hints import Hint, hint, suspects
from flows.policy.records.judging import judge, judge_dnssec
from flows.policy.records.looks import Looked, is_settled, looked
from flows.policy.records.nouns import (
    WHO_ACTS,
    DomainPlan,
    ExpectedRecord,
    Holder,
    HostAddress,
    Merge,
    Need,
    Observations,
    ObservedAnswer,
    RecordSet,
    Stray,
)
from flows.policy.records.picture import Entry, as_json, entries, line, renewed
from flows.policy.records.publication import Change, Conflict, Keep, publication
from flows.policy.records.reading import read

__all__ = [
    "WHO_ACTS",
    "Change",
    "Conflict",
    "DkimRecord",
    "DomainPlan",
    "Entry",
    "ExpectedRecord",
    "Hint",
    "Holder",
    "HostAddress",
    "Keep",
    "Looked",
    "Merge",
    "Need",
    "Observations",
    "ObservedAnswer",
    "RecordSet",
    "Stray",
    "as_json",
    "dated_key",
    "dmarc_start",
    "entries",
    "expected_records",
    "hint",
    "is_settled",
    "judge",
    "judge_dnssec",
    "line",
    "looked",
    "publication",
    "read",
    "renewed",
    "required",
    "suspects",
]
