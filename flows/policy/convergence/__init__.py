"""Make a host what it should be: facts, a pure plan, one script; the second plan is empty.

script = facts_script(desired)              one command
facts = parse_facts(output)
changes = plan(desired, facts)              empty: nothing more is said to the host
script, payload = apply_script(changes)     one command, the payload on its standard input
outcome = parse_outcome(status, output)
confirm_script()                            from a second connection, if needs_confirmation(changes)
"""

from flows.policy.convergence.applying import (
    Applied,
    Refused,
    apply_script,
    confirm_script,
    parse_outcome,
)
from flows.policy.convergence.facts import Facts, FileFact, IncompleteFacts, UnitFact, facts_script, parse_facts
from flows.policy.convergence.nouns import Change, Component, Condition, Desired, File, Unit
from flows.policy.convergence.planning import needs_confirmation, plan

__all__ = [
    "Applied",
    "Change",
    "Component",
    "Condition",
    "Desired",
    "Facts",
    "File",
    "FileFact",
    "IncompleteFacts",
    "Refused",
    "Unit",
    "UnitFact",
    "apply_script",
    "confirm_script",
    "facts_script",
    "needs_confirmation",
    "parse_facts",
    "parse_outcome",
    "plan",
]
