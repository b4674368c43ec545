"""The records a domain should publish, from its plan."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from flows.policy.dkim import DkimRecord
from flows.policy.dmarc import FIRST
from flows.policy.dns_ids import is_slot, ownership_text
from flows.policy.names import is_under
from flows.policy.records.nouns import DomainPlan, ExpectedRecord, Holder, HostAddress, Merge, Need

MX_PREFERENCE: Final = 10
SLOTS: Final = ("pm1", "pm2", "pm3", "pm4")
REPORT_LABEL: Final = "dmarc"
REPORTS: Final = "; rua=mailto:"
# Client programs look here for the servers of a mailbox (RFC 6186, RFC 8314).
CLIENT_PORTS: Final = (("submissions", 465), ("imaps", 993))


def expected_records(plan: DomainPlan) -> tuple[ExpectedRecord, ...]:
    """Every record of the plan, each once; hosts under another tenant domain belong to that domain's plan."""
    return tuple(
        replace(record, ttl=plan.ttl_seconds)
        for records in (ownership(plan), hosts(plan), mail(plan), spf(plan), dkim(plan), dmarc(plan), clients(plan))
        for record in records
    )


def record(
    key: str,
    name: str,
    rtype: str,
    *values: str,
    merge: Merge = Merge.EXACT,
    need: Need = Need.REQUIRED,
    holder: Holder = Holder.TENANT,
) -> ExpectedRecord:
    """A record with the defaults of most; its TTL is set at the end."""
    return ExpectedRecord(key, name, rtype, values, need, merge, 0, holder)


def ownership(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """Proof that the tenant controls the domain."""
    text = ownership_text(plan.verification_token)
    yield record("own", f"_pm-verify.{plan.domain}", "TXT", text, merge=Merge.ADD)


def hosts(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """A, PTR and HELO identity of each mail host that is named under the domain or the platform zone."""
    for at, host in enumerate(plan.hosts):
        holder = holder_of(plan, host.name)
        if holder is None:
            continue
        suffix = "" if at == 0 else f":{host.name.partition('.')[0]}"
        about = {"ips": (host.ip,)}
        yield replace(record(f"a{suffix}", host.name, "A", str(host.ip), holder=holder), **about)
        reverse = host.ip.reverse_pointer
        yield replace(record(f"ptr{suffix}", reverse, "PTR", f"{host.name}.", holder=Holder.PROVIDER), **about)
        text = f"v=spf1 ip4:{host.ip} -all"
        spf_host = record(f"spf-host{suffix}", host.name, "TXT", text, merge=Merge.MERGE_SPF, holder=holder)
        yield replace(spf_host, **about)


def holder_of(plan: DomainPlan, name: str) -> Holder | None:
    """Who publishes a host's own records; None when they belong to another domain's plan."""
    if plan.platform_zone and is_under(name, plan.platform_zone):
        return Holder.PLATFORM
    return Holder.TENANT if is_under(name, plan.domain) else None


def mail(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """Where mail for the domain and its return path goes; the apex only with recorded consent."""
    exchange = f"{MX_PREFERENCE} {sending_host(plan).name}."
    yield record("mx-bounce", f"bounce.{plan.domain}", "MX", exchange)
    need = Need.CONDITIONAL if plan.manage_mx else Need.OPTIONAL
    yield replace(record("mx", plan.domain, "MX", exchange, need=need), consent=plan.manage_mx)
    address = report_address(plan, "t")
    if plan.manage_mx and address:
        text = f"v=TLSRPTv1; rua=mailto:{address}"
        yield record("tlsrpt", f"_smtp._tls.{plan.domain}", "TXT", text, need=Need.CONDITIONAL)


def sending_host(plan: DomainPlan) -> HostAddress:
    """The host of the address that the domain sends from."""
    for host in plan.hosts:
        if host.ip == plan.sending_ip:
            return host
    raise ValueError(f"{plan.domain} sends from {plan.sending_ip}, which has no host name in its plan")


def spf(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """What lets our addresses pass, at the return path and at the domain itself."""
    ips = (plan.sending_ip, *plan.standby_ips)
    terms = " ".join(f"ip4:{ip}" for ip in ips)
    if plan.platform_zone:
        ours = f"{label(plan)}._spf.{plan.platform_zone}"
        text = f"v=spf1 {terms} -all"
        yield replace(record("spf-ours", ours, "TXT", text, holder=Holder.PLATFORM), ips=ips)
        terms = f"include:{ours}"
    bounce = record("spf-bounce", f"bounce.{plan.domain}", "TXT", f"v=spf1 {terms} -all", merge=Merge.MERGE_SPF)
    yield replace(bounce, ips=ips)
    domain = record("spf", plan.domain, "TXT", f"v=spf1 {terms} ~all", merge=Merge.MERGE_SPF)
    yield replace(domain, ips=ips)


def label(plan: DomainPlan) -> str:
    """The token that stands for the domain below the platform zone."""
    if not plan.label:
        raise ValueError(f"{plan.domain} has no label below the platform zone")
    return plan.label


def dkim(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """Keys at dated selectors; slot names are delegated by CNAME and published in the platform zone."""
    if plan.platform_zone and any(is_slot(key.selector) for key in plan.dkim):
        zone = f"{label(plan)}.dkim.{plan.platform_zone}"
        for slot in SLOTS:
            yield record(f"dkim-cname:{slot}", f"{slot}._domainkey.{plan.domain}", "CNAME", f"{slot}.{zone}.")
        yield from (
            key_record(key, f"{key.selector}.{zone}", Holder.PLATFORM) for key in plan.dkim if is_slot(key.selector)
        )
    yield from (
        key_record(key, f"{key.selector}._domainkey.{plan.domain}", Holder.TENANT)
        for key in plan.dkim
        if not (plan.platform_zone and is_slot(key.selector))
    )


def dated_key(domain: str, key: DkimRecord, ttl_seconds: int = 300) -> ExpectedRecord:
    """The TXT record of a key at its dated selector, by itself."""
    named = key_record(key, f"{key.selector}._domainkey.{domain}", Holder.TENANT)
    return replace(named, ttl=ttl_seconds)


def key_record(key: DkimRecord, name: str, holder: Holder) -> ExpectedRecord:
    """The TXT record of one key."""
    kind = "dkim-rsa" if key.algorithm == "rsa" else "dkim-ed"
    need = Need.REQUIRED if key.gates else Need.CONDITIONAL
    return record(f"{kind}:{key.selector}", name, "TXT", key.text, holder=holder, need=need)


def dmarc(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """Policy none to begin with, or what a domain above lends already; and our consent to receive the reports."""
    address = report_address(plan, "r")
    text = plan.dmarc_start + (f"{REPORTS}{address}" if address else "")
    yield record("dmarc", f"_dmarc.{plan.domain}", "TXT", text, merge=Merge.MERGE_DMARC)
    if plan.platform_zone and address:
        name = f"{plan.domain}._report._dmarc.{REPORT_LABEL}.{plan.platform_zone}"
        yield record("dmarc-ext", name, "TXT", "v=DMARC1;", holder=Holder.PLATFORM)


def dmarc_start(expected: Iterable[ExpectedRecord]) -> str:
    """How the DMARC record was decided to begin when these were first written down."""
    text = next((record.values[0] for record in expected if record.key == "dmarc"), FIRST)
    return text.partition(REPORTS)[0]


def report_address(plan: DomainPlan, kind: str) -> str | None:
    """Where aggregate reports go: `r` for DMARC, `t` for TLS."""
    if plan.platform_zone:
        return f"{kind}-{label(plan)}@{REPORT_LABEL}.{plan.platform_zone}"
    return plan.dmarc_rua


def clients(plan: DomainPlan) -> Iterator[ExpectedRecord]:
    """Where mail programs find the servers."""
    host = sending_host(plan).name
    for name, port in CLIENT_PORTS:
        yield record(f"srv-{name}", f"_{name}._tcp.{plan.domain}", "SRV", f"0 1 {port} {host}.", need=Need.OPTIONAL)


def required(records: Iterable[ExpectedRecord]) -> tuple[ExpectedRecord, ...]:
    """Those that gate going live."""
    return tuple(record for record in records if record.need is Need.REQUIRED)
