"""What any domain publishes for mail, judged without knowing whose it is: no expectation but the standards."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Final

from flows.policy.dkim import (
    MIN_RSA_BITS,
    VOID_RSA_BITS,
    DkimSyntax,
    KeyRecord,
    condition_fault,
    parse_key_record,
    rsa_bits,
)
from flows.policy.dmarc import DmarcPolicy, DmarcRecord, applied_policy, doubled, governing
from flows.policy.names import same_form
from flows.policy.spf import SpfOutcome, SpfResult
from flows.policy.verdict import Truth, Verdict

# Nobody sends from here (RFC 1112 section 4): an SPF record that lets it pass lets everybody pass, and all of a
# record's terms are evaluated on the way to its end.
STRANGER: Final = IPv4Address("240.0.0.1")
MANY_LOOKUPS: Final = 8
ED25519_BYTES: Final = 32
STS: Final = "v=STSv1"
TLSRPT: Final = "v=TLSRPTv1"


def known(subject: str, outcome: str, name: str) -> Verdict | None:
    """UNKNOWN when nobody could say what stands at the name; None when somebody could."""
    if outcome in {"found", "absent"}:
        return None
    reason = "query_budget" if outcome == "budget" else outcome
    return Verdict(subject, Truth.UNKNOWN, reason, found=(), fix=f"{name} gave no answer ({outcome}): ask again later")


def judge_spf(texts: Sequence[str], stranger: SpfResult) -> Verdict:
    """One readable record that ends by itself and does not let the world pass (RFC 7208)."""
    found = (*texts, f"{stranger.lookups} of 10 look-ups")
    if not texts:
        return Verdict("spf", Truth.FAIL, "missing", "one SPF record", fix="publish v=spf1 … ~all")
    if len(texts) > 1:
        fix = "receivers refuse several SPF records: make them one"
        return Verdict("spf", Truth.FAIL, "spf_multiple", "one SPF record", tuple(texts), fix)
    if stranger.outcome is SpfOutcome.TEMPERROR:
        spent = stranger.problem.endswith(": budget")
        reason = "query_budget" if spent else "spf_temperror"
        return Verdict("spf", Truth.UNKNOWN, reason, "one SPF record", found, stranger.problem)
    if stranger.outcome is SpfOutcome.PERMERROR:
        return Verdict("spf", Truth.FAIL, "spf_permerror", "a record without error", found, stranger.problem)
    if stranger.outcome is SpfOutcome.PASS:
        fix = f"{stranger.term} lets the whole world send as this domain: end in ~all"
        return Verdict("spf", Truth.FAIL, "spf_open", "-all or ~all", found, fix)
    warnings = [f"{stranger.lookups} of 10 look-ups are used"] if stranger.lookups >= MANY_LOOKUPS else []
    warnings += ["the record ends in neither ~all nor -all"] if stranger.outcome is SpfOutcome.NEUTRAL else []
    return Verdict("spf", Truth.PASS, expected="one SPF record", found=found, warnings=tuple(warnings))


def judge_sender(result: SpfResult) -> Verdict:
    """Whether SPF lets one address of the sender pass."""
    subject, said = f"spf:{result.ip}", result.problem or result.term or "no term covers the address"
    if result.outcome is SpfOutcome.PASS:
        return Verdict(subject, Truth.PASS, expected="pass", found=(f"pass ({said})",))
    truth = Truth.UNKNOWN if result.outcome is SpfOutcome.TEMPERROR else Truth.FAIL
    return Verdict(subject, truth, f"spf_{result.outcome}", "pass", (f"{result.outcome} ({said})",), f"add {result.ip}")


def judge_dmarc_of(domain: str, records: Mapping[str, DmarcRecord], faults: Sequence[str]) -> Verdict:
    """The policy that a receiver applies, from the domain's own record or from above (RFC 9989)."""
    applied, where = applied_policy(domain, records, exists=True), governing(domain, records)
    if applied is None or where is None:
        reason, fix = ("dmarc_syntax", faults[0]) if faults else ("missing", "publish v=DMARC1; p=none; rua=mailto:…")
        return Verdict("dmarc", Truth.FAIL, reason, "a DMARC record", tuple(faults), fix)
    record = records[where]
    found = (record.text, f"applied: {applied}" + ("" if where == same_form(domain) else f", from {where}"))
    warnings = (
        *faults,
        *doubled(record.text),
        *(() if record.reports_to else ("nobody receives reports: add rua=mailto:…",)),
    )
    if applied is DmarcPolicy.NONE:
        warnings += ("p=none asks receivers to do nothing",)
    return Verdict("dmarc", Truth.PASS, expected="a DMARC record", found=found, warnings=warnings)


def judge_selector(selector: str, values: Sequence[str]) -> Verdict:
    """A readable, strong key at the selector (RFC 6376, 8301, 8463)."""
    subject, expected = f"dkim:{selector}", "one key of at least 2048 bits, or Ed25519"
    if len(values) != 1:
        reason = "multiple_keys" if values else "missing"
        return Verdict(subject, Truth.FAIL, reason, expected, tuple(values), "publish exactly one TXT record")
    try:
        key = parse_key_record(values[0])
    except DkimSyntax as error:
        return Verdict(subject, Truth.FAIL, "not_a_key", expected, tuple(values), f"the record cannot be read: {error}")
    if not key.key:
        return Verdict(subject, Truth.FAIL, "revoked", expected, tuple(values), "p= is empty, which revokes the key")
    if fault := weakness(key) or condition_fault(key):
        return Verdict(subject, Truth.FAIL, fault[0], expected, (key.fingerprint,), fault[1])
    warnings = ("t=y: receivers may treat the signature as a test",) if "y" in key.flags else ()
    return Verdict(subject, Truth.PASS, expected=expected, found=(key.fingerprint,), warnings=warnings)


def weakness(key: KeyRecord) -> tuple[str, str] | None:
    """Reason and remedy when no receiver can verify with the key, or none should."""
    if key.algorithm == "ed25519":
        wrapped = "ed25519_wrapped", "p= must be the 32 raw key bytes (44 characters)"
        return wrapped if len(key.key) != ED25519_BYTES else None
    if key.algorithm != "rsa":
        return "unknown_algorithm", "receivers know rsa and ed25519 alone: make such a key"
    bits = rsa_bits(key.key) or 0
    void = ", and receivers ignore it" if bits < VOID_RSA_BITS else ""
    return ("rsa_short", f"it has {bits or 'no'} bits: make a key of 2048 bits{void}") if bits < MIN_RSA_BITS else None


def judge_mx(values: Sequence[str], addresses: Mapping[str, Sequence[str] | None], aliases: Sequence[str]) -> Verdict:
    """Exchanges that are names with an address (RFC 5321 section 5.1); None as addresses: nobody could say."""
    expected, found = "exchanges with an address", tuple(values)
    if not values:
        return judge_implicit_mx(addresses)
    if any(value.split()[-1:] == ["."] for value in values):
        return Verdict("mx", Truth.FAIL, "mx_null", expected, found, "a null MX refuses replies and bounces")
    if aliases:
        fix = f"{aliases[0]} is an alias: name the host itself (RFC 2181 section 10.3)"
        return Verdict("mx", Truth.FAIL, "mx_alias", expected, found, fix)
    if lacking := [name for name, ips in addresses.items() if ips is not None and not ips]:
        return Verdict("mx", Truth.FAIL, "mx_without_address", expected, found, f"{lacking[0]} has no address")
    if silent := [name for name, ips in addresses.items() if ips is None]:
        return Verdict("mx", Truth.UNKNOWN, "authority_unreachable", expected, found, f"{silent[0]} gave no answer")
    return Verdict("mx", Truth.PASS, expected=expected, found=found)


def judge_implicit_mx(addresses: Mapping[str, Sequence[str] | None]) -> Verdict:
    """Without an MX the domain's own address receives, where it has one (RFC 5321 section 5.1)."""
    expected = "exchanges with an address"
    if found := tuple(ip for ips in addresses.values() for ip in ips or ()):
        note = "no MX: mail goes to the domain's own address; publish an MX where that is not meant"
        return Verdict("mx", Truth.PASS, expected=expected, found=found, warnings=(note,))
    if silent := [name for name, ips in addresses.items() if ips is None]:
        return Verdict("mx", Truth.UNKNOWN, "authority_unreachable", expected, fix=f"{silent[0]} gave no answer")
    return Verdict("mx", Truth.FAIL, "missing", expected, fix="replies and bounces have nowhere to go: publish an MX")


def judge_reverse(ip: str, names: Sequence[str], confirmed: bool | None) -> Verdict:
    """A reverse name that leads back to the address."""
    subject, found = f"ptr:{ip}", tuple(names)
    if not names:
        return Verdict(subject, Truth.FAIL, "ptr_missing", "a name that leads back", fix=f"set a PTR for {ip}")
    if confirmed is None:
        return Verdict(subject, Truth.UNKNOWN, "authority_unreachable", "a name that leads back", found)
    if not confirmed:
        fix = f"publish {names[0]} A {ip}"
        return Verdict(subject, Truth.FAIL, "ptr_unconfirmed", "a name that leads back", found, fix)
    return Verdict(subject, Truth.PASS, expected="a name that leads back", found=found)


def judge_exchange(reverse: Verdict) -> Verdict:
    """The reverse name of a host that receives: nobody has to have one, so what is wrong with it is only said."""
    subject = f"mx-{reverse.subject}"
    if reverse.truth is not Truth.FAIL:
        return reverse._replace(subject=subject)
    return reverse._replace(subject=subject, truth=Truth.PASS, fix="", warnings=(reverse.fix,))


def judge_optional(subject: str, version: str, values: Sequence[str]) -> Verdict:
    """MTA-STS and TLS-RPT: nobody has to have them, but two or a broken one help nobody (RFC 8461, 8460)."""
    ours = tuple(value for value in values if value.replace(" ", "").startswith(version))
    if len(ours) > 1:
        return Verdict(subject, Truth.FAIL, "multiple", "at most one record", ours, "receivers ignore all: keep one")
    if not ours:
        return Verdict(subject, Truth.PASS, "absent", "at most one record")
    needed = "id=" if version == STS else "rua="
    if needed not in ours[0]:
        return Verdict(subject, Truth.FAIL, "syntax", f"{needed}…", ours, f"add {needed}")
    return Verdict(subject, Truth.PASS, expected="at most one record", found=ours)
