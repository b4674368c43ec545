"""One request as the API sees it, and the sentences it answers with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.hostwinds.model import Account, Machine

Items = list[dict[str, Any]]

# Titles as the vendor prints them; where none is known the action's own words serve.
TITLES: Mapping[str, str] = {
    "add_instance": "Add Instance",
    "set_rdns": "Set rDNS",
    "delete_ip": "Delete IP",
    "fix_isp_blocked": "Fix ISP Block",
    "create_ip_cleanup_fee": "Create IP Cleanup Fee",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of an account: an action and its form."""

    account: Account
    action: str
    form: Mapping[str, list[str]]

    def one(self, name: str) -> str:
        """Return the first value of a field; empty when it is missing."""
        return (self.form.get(name) or [""])[0]

    @property
    def label(self) -> str:
        """The server name that is asked for."""
        return self.one("srvrname")

    @property
    def title(self) -> str:
        """The action in the vendor's words."""
        return TITLES.get(self.action, self.action.replace("_", " ").title())


class Refusal(Exception):
    """The request is answered with an error item."""

    def __init__(self, message: str, code: str = "", title: str | None = None) -> None:
        """Take the sentence and the call-site number that go on the wire."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.title = title

    def items(self, ask: Ask) -> Items:
        """The refusal as it is sent."""
        title = ask.title if self.title is None else self.title
        item = {"result": "error", "action": title, "message": self.message, "ERROR": self.code}
        return [{name: value for name, value in item.items() if value}]


def accepted(title: str, message: str) -> Items:
    """One success item."""
    return [{"result": "success", "action": title, "message": message}]


def unknown_service(title: str | None = None) -> Refusal:
    """The one answer to a missing, an unknown and a foreign id."""
    return Refusal("A valid serviceid is required.", title=title)


def is_seen(machine: Machine, account: Account, now: float) -> bool:
    """Whether an account's panel shows a machine."""
    return machine.account == account.name and not machine.gone and now >= machine.visible_at
