#!/usr/bin/python3
"""Answers Postfix's policy question on a receiver from a rule file, which is read anew for every recipient.

A rule is {"match": {attribute: suffix, ...}, "action": an access(5) action}, and may say when it holds:
  "left": N                  for N recipients more
  "greylist": S              for S seconds from the first contact of a client network (/24), sender and recipient on
  "above": N, "seconds": S   for what comes from a client address after N recipients in S seconds
The first rule that matches and holds decides; with none, Postfix goes on. What a rule has to remember it keeps in
the file itself, so new rules begin afresh.
"""

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

RULES = Path("/var/lib/receiver/rules.json")
NO_OPINION = "DUNNO"


def matches(rule: dict[str, Any], question: dict[str, str]) -> bool:
    """Tell whether every attribute ends as the rule wants."""
    return all(question.get(name, "").endswith(suffix) for name, suffix in rule["match"].items())


def holds(rule: dict[str, Any], question: dict[str, str], now: float) -> bool:
    """Tell whether a rule that matches holds for this recipient, and let it remember the contact."""
    if rule.get("left", 1) <= 0:
        return False
    if "left" in rule:
        rule["left"] -= 1
    if "greylist" in rule:
        network = question.get("client_address", "").rpartition(".")[0]
        contact = " ".join((network, question.get("sender", ""), question.get("recipient", "")))
        return now < rule.setdefault("seen", {}).setdefault(contact, now) + rule["greylist"]
    if "above" in rule:
        times = rule.setdefault("times", {}).setdefault(question.get("client_address", ""), [])
        times[:] = [*(at for at in times if at > now - rule["seconds"]), now]
        return len(times) > rule["above"]
    return True


def decide(question: dict[str, str], path: Path = RULES, now: float | None = None) -> str:
    """Return the action for one recipient, and write down what its rules have to remember."""
    if not path.exists():
        return NO_OPINION
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rules: list[dict[str, Any]] = json.load(file)
        at = time.time() if now is None else now
        rule = next((rule for rule in rules if matches(rule, question) and holds(rule, question, at)), None)
        file.seek(0)
        file.truncate()
        json.dump(rules, file)
        return NO_OPINION if rule is None else str(rule["action"])


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
