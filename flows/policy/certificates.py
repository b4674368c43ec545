"""When a certificate still serves, what an authority may be asked for, and what its refusals mean."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from flows.policy.verdict import Truth, Verdict

RENEW_IN_THE_LAST: Final = 3  # the last third of its life: 30 days of 90, and never at once of a short one

Reason = Literal["dns", "provider", "operator"]


def serves(
    names: Collection[str], not_before: datetime, not_after: datetime, *, wanted: Collection[str], now: datetime
) -> bool:
    """Whether it names exactly the wanted hosts and is not in the last third of its life."""
    return set(names) == set(wanted) and now < due_at(not_before, not_after)


def due_at(not_before: datetime, not_after: datetime) -> datetime:
    """When its last third begins."""
    return not_after - (not_after - not_before) / RENEW_IN_THE_LAST


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many within a window that moves; `most` stays below what the authority publishes."""

    what: str
    most: int
    window: timedelta

    def free_at(self, counted: Sequence[datetime], now: datetime) -> datetime | None:
        """When one more fits; None: now."""
        recent = sorted(at for at in counted if at > now - self.window)
        return None if len(recent) < self.most else recent[-self.most] + self.window


# letsencrypt.org/docs/rate-limits: 300 orders per account and 3 hours, 50 certificates per registered domain and
# 5 of one set of names in 7 days, 5 failed validations per name, account and hour.
ORDERS: Final = Limit("orders of our account in 3 hours", 280, timedelta(hours=3))
FIRST_CERTIFICATES: Final = Limit("certificates of one registered domain in 7 days", 45, timedelta(days=7))
SAME_NAMES: Final = Limit("certificates of the same names in 7 days", 4, timedelta(days=7))
FAILURES: Final = Limit("failed validations of one name in an hour", 3, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the authority is not to be asked now, and when it may be."""

    limit: Limit
    about: str
    until: datetime

    @property
    def sentence(self) -> str:
        """For the run's row: what is full, of what, until when."""
        return (
            f"{self.about}: no more than {self.limit.most} {self.limit.what} are asked of the certificate authority;"
            f" it is asked again at {self.until:%Y-%m-%d %H:%M} UTC"
        )


def held_back(
    now: datetime,
    *,
    orders: Sequence[datetime],
    first_certificates: Mapping[str, Sequence[datetime]],
    same_names: Sequence[datetime],
    failures: Mapping[str, Sequence[datetime]],
    renews: bool,
) -> Hold | None:
    """The limit that stands longest in the way of one more order; a renewal does not count against its domain."""
    asked = [(ORDERS, "this installation", orders), (SAME_NAMES, "these names", same_names)]
    asked += [(FAILURES, name, at) for name, at in failures.items()]
    if not renews:
        asked += [(FIRST_CERTIFICATES, zone, at) for zone, at in first_certificates.items()]
    holds = [
        Hold(limit, about, free_at) for limit, about, at in asked if (free_at := limit.free_at(at, now)) is not None
    ]
    return max(holds, key=lambda hold: hold.until, default=None)


def registered_domain(name: str, zones: Collection[str]) -> str:
    """What a host name counts against: the highest of our known zones above it, else its last two labels."""
    above = [zone for zone in zones if name == zone or name.endswith(f".{zone}")]
    return min(above, key=len) if above else ".".join(name.split(".")[-2:])


MEANING: Final[Mapping[str, tuple[Reason, str]]] = {
    "dns": ("dns", "the authority finds no usable A record; publish it as domains.dns_records says"),
    "unauthorized": ("dns", "the authority met another host at this name; its A record must be the server's address"),
    "incorrectResponse": ("dns", "the authority met another host; the A record must be the server's address"),
    "caa": ("dns", "a CAA record forbids this authority; permit it there or remove the record"),
    "connection": ("provider", "the authority does not reach port 80 of the server; open it at the provider"),
    "tls": ("provider", "the authority met TLS where plain HTTP was to answer; nothing may redirect port 80"),
    "serverInternal": ("provider", "the authority failed by itself"),
    "rateLimited": ("provider", "the authority's rate limit is reached"),
}
"""A problem's kind (RFC 8555 section 6.7) to who can end it, and how."""
PAUSES: Final[Mapping[Reason, timedelta | None]] = {
    "dns": timedelta(minutes=5),
    "provider": timedelta(minutes=15),
    "operator": None,
}


@dataclass(frozen=True, slots=True)
class Setback:
    """What a refusal means for the run; `again_in` None: only a person can end it."""

    reason: Reason
    sentence: str
    again_in: timedelta | None


def setback(problems: Sequence[tuple[str, str, str]]) -> Setback:
    """Of problems as (kind, detail, name): first what takes a person, then the tenant's part, then the provider's."""
    if not problems:
        return Setback("provider", "the authority gave the order up without a reason", PAUSES["provider"])
    order: tuple[Reason, ...] = ("operator", "dns", "provider")
    kind, detail, name = min(problems, key=lambda problem: order.index(_meaning(problem[0])[0]))
    reason, cure = _meaning(kind)
    return Setback(reason, f"{name or 'the order'}: {cure} ({kind}: {detail})", PAUSES[reason])


def _meaning(kind: str) -> tuple[Reason, str]:
    return MEANING.get(kind, ("operator", "the authority will not certify it"))


def caa_verdict(name: str, records: Sequence[str], identities: Collection[str], found_at: str = "") -> Verdict:
    """Whether the relevant CAA set (RFC 8659 section 3) lets an authority of these identities issue.

    `records` are in presentation form: `0 issue "ca.example"`. Without known identities a set that limits is UNKNOWN.
    """
    subject = f"CAA {found_at or name}"
    critical, issuers = _caa(records)
    if critical:
        return _forbidden(subject, records, identities, f'a critical tag nobody knows ("{critical}")')
    if issuers is None:
        return Verdict(subject, Truth.PASS, found=tuple(records))
    if not identities:
        return Verdict(subject, Truth.UNKNOWN, "the authority does not say its name", found=tuple(records))
    if issuers & set(identities):
        return Verdict(subject, Truth.PASS, found=tuple(records))
    return _forbidden(subject, records, identities, "it names other authorities")


def _caa(records: Sequence[str]) -> tuple[str, frozenset[str] | None]:
    """An unknown critical tag, and who may issue; None: nobody is excluded."""
    issuers: set[str] | None = None
    for record in records:
        flags, tag, value = (*record.split(None, 2), "", "", "")[:3]
        if tag.lower() == "issue":
            issuers = (issuers or set[str]()) | {value.strip('"').partition(";")[0].strip().lower()}
        elif tag.lower() not in {"issuewild", "iodef"} and flags.isdigit() and int(flags) & 128:
            return tag, None
    return "", None if issuers is None else frozenset(issuers)


def _forbidden(subject: str, records: Sequence[str], identities: Collection[str], reason: str) -> Verdict:
    wanted = f'0 issue "{min(identities)}"' if identities else ""
    where = subject.removeprefix("CAA ")
    fix = f"{where} has a CAA record that forbids the certificate authority ({reason}): " + (
        f"add {where}. CAA {wanted}" if wanted else "remove it"
    )
    return Verdict(subject, Truth.FAIL, reason, expected=wanted, found=tuple(records), fix=fix)
