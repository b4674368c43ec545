"""What an authority says of an order, in our words; a shape the standard does not know raises KeyError or TypeError."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

Status = Literal["pending", "ready", "processing", "valid", "invalid"]  # RFC 8555 7.1.6
DETAIL_LIMIT = 300  # characters of the authority's own words that are kept


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the authority would not (RFC 7807). `kind` is the last word of its type: dns, connection, caa."""

    kind: str
    detail: str
    name: str = ""  # the host name it is about, where the authority says so

    @classmethod
    def from_api(cls, wire: dict[str, Any], name: str = "") -> "Problem":
        """Of a problem document."""
        about: dict[str, Any] = wire.get("identifier") or {}
        said = str(wire.get("detail") or wire.get("title") or "no reason given")
        return cls(
            str(wire.get("type", "")).rpartition(":")[2], said[:DETAIL_LIMIT], name or str(about.get("value", ""))
        )


@dataclass(frozen=True, slots=True)
class Challenge:
    """One HTTP-01 challenge that waits for our word. `answer` is public: it is what the host is to serve."""

    name: str
    url: str
    token: str
    answer: str


@dataclass(frozen=True, slots=True)
class Authorization:
    """The authority's view of one name: what it still wants to be shown, and what it held against it."""

    name: str
    offers_http: bool
    challenges: tuple[Challenge, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def from_api(cls, wire: dict[str, Any], answer_to: Callable[[str], str]) -> "Authorization":
        """Of an authorization object (RFC 8555 7.1.4); a challenge is to be answered while both are pending."""
        name = str(wire["identifier"]["value"])
        shown: list[dict[str, Any]] = wire["challenges"]
        http = [one for one in shown if one["type"] == "http-01"]
        waiting = [one for one in http if wire["status"] == "pending" and one["status"] == "pending"]
        return cls(
            name,
            bool(http),
            tuple(Challenge(name, one["url"], one["token"], answer_to(one["token"])) for one in waiting),
            tuple(Problem.from_api(one["error"], name) for one in shown if one.get("error")),
        )


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the authority has it now. `retry_after_seconds`: how long it asks to be left alone."""

    url: str
    status: Status
    finalize_url: str
    authorization_urls: tuple[str, ...]
    certificate_url: str | None = None
    challenges: tuple[Challenge, ...] = ()
    problems: tuple[Problem, ...] = ()
    retry_after_seconds: float | None = None

    @classmethod
    def from_api(cls, wire: dict[str, Any], url: str) -> "Order":
        """Of an order object (RFC 8555 7.1.3)."""
        status = str(wire["status"])
        if not is_status(status):
            raise ValueError(f"an order of status {status[:20]!r}")
        refused: dict[str, Any] | None = wire.get("error")
        return cls(
            url=url,
            status=status,
            finalize_url=str(wire["finalize"]),
            authorization_urls=tuple(str(one) for one in wire["authorizations"]),
            certificate_url=wire.get("certificate"),
            problems=(Problem.from_api(refused),) if refused else (),
        )


def is_status(word: str) -> TypeGuard[Status]:
    """Whether this is one of the five states."""
    return word in get_args(Status)
