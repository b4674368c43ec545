"""Blocklists: what to ask, what an answer means, whether a list is believed, and what becomes of the history."""

from flows.policy.blocklists.classifying import NO_ANSWER, classify, distrusted, out_of_turn
from flows.policy.blocklists.history import Act, Rules, Run, Step, after, answer_of
from flows.policy.blocklists.nouns import Blocklist, Code, Effect, Finding, Heard, Kind, Probe
from flows.policy.blocklists.screening import screen, worst
from flows.policy.blocklists.subjects import kind_of, label_of, lookups
from flows.policy.blocklists.trust import Trust, TrustRules, TrustState, after_self_test, judge_self_test

__all__ = [
    "NO_ANSWER",
    "Act",
    "Blocklist",
    "Code",
    "Effect",
    "Finding",
    "Heard",
    "Kind",
    "Probe",
    "Rules",
    "Run",
    "Step",
    "Trust",
    "TrustRules",
    "TrustState",
    "after",
    "after_self_test",
    "answer_of",
    "classify",
    "distrusted",
    "judge_self_test",
    "kind_of",
    "label_of",
    "lookups",
    "out_of_turn",
    "screen",
    "worst",
]
