"""Answers one request: the action's effect on the books, and the document that goes back."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.hostwinds.asking import Ask, Refusal
from sandbox.hostwinds.changes import CHANGES
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.forbidden import FORBIDDEN
from sandbox.hostwinds.model import Call
from sandbox.hostwinds.orders import add_instance, buy_ip_by_api
from sandbox.hostwinds.reads import READS

Action = Callable[[Emulator, Ask], Any]

ACTIONS: Mapping[str, Action] = {**READS, **CHANGES, **FORBIDDEN, "add_instance": add_instance}


def perform(emulator: Emulator, ask: Ask) -> Any:
    """Carry out a request and return its document; it enters the request log either way."""
    with emulator.lock:
        result = "success"
        try:
            document: Any = _action(emulator, ask)(emulator, ask)
            if '"result": "error"' in json.dumps(document):
                result = "partial"
        except Refusal as refusal:
            document, result = refusal.items(ask), "error"
        note(emulator, ask, result)
        emulator.save()
        return document


def note(emulator: Emulator, ask: Ask, result: str) -> None:
    """Write a line into the request log."""
    emulator.log_call(
        Call(
            seq=emulator.books.take_seq(),
            at=emulator.clock.now(),
            account=ask.account.name,
            action=ask.action,
            serviceid=ask.one("serviceid"),
            label=ask.label,
            result=result,
            violation=ask.action in FORBIDDEN,
        )
    )


def _action(emulator: Emulator, ask: Ask) -> Action:
    if emulator.config.add_ip_action and ask.action == emulator.config.add_ip_action:
        return buy_ip_by_api
    action = ACTIONS.get(ask.action)
    if action is None or emulator.faults.take("action_gone", ask.action):
        raise Refusal("Invalid Action.", "6734", title="")
    return action
