#!/usr/bin/python3
"""Answers Postfix's policy question on a receiver from a rule file, which is read anew for every recipient.

A rule is {"match": {attribute: suffix, ...}, "action": an access(5) action, "left": uses that remain}; without
`left` it always holds. The first rule that matches and has uses left decides; with none, Postfix goes on.
"""

import fcntl
import json
import sys
from pathlib import Path
from typing import Any

RULES = Path("/var/lib/receiver/rules.json")
NO_OPINION = "DUNNO"


def applies(rule: dict[str, Any], question: dict[str, str]) -> bool:
    """Tell whether every attribute ends as the rule wants and the rule is not used up."""
    if rule.get("left", 1) <= 0:
        return False
    return all(question.get(name, "").endswith(suffix) for name, suffix in rule["match"].items())


def decide(question: dict[str, str], path: Path = RULES) -> str:
    """Return the action for one recipient and count down the rule that gave it."""
    if not path.exists():
        return NO_OPINION
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rules: list[dict[str, Any]] = json.load(file)
        rule = next((rule for rule in rules if applies(rule, question)), None)
        if rule is None:
            return NO_OPINION
        if "left" in rule:
            rule["left"] -= 1
            file.seek(0)
            file.truncate()
            json.dump(rules, file)
        return str(rule["action"])


def main() -> None:
    """Serve one Postfix client: attribute lines, an empty line, then our answer."""
    question: dict[str, str] = {}
    for line in sys.stdin:
        name, equals, value = line.rstrip("\n").partition("=")
        if equals:
            question[name] = value
        else:
            print(f"action={decide(question)}\n", flush=True)
            question = {}


if __name__ == "__main__":
    main()
