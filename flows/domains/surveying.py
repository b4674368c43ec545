"""What any domain publishes for mail, asked of a resolver; nothing has to be known of the domain beforehand."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from flows.policy import survey as judge
from flows.policy.dkim import key_name
from flows.policy.dmarc import DmarcRecord, DmarcSyntax, discovery_names, dmarc_texts, governing, seen_dmarc
from flows.policy.names import same_form
from flows.policy.plain_text import plain, shown
from flows.policy.spf import check_host, spf_texts
from flows.policy.verdict import Evidence, Verdict
from providers.resolver import Answer, Inquiry, Resolver

MOST_EXCHANGES = 10
MOST_REVERSE = 4
QUESTIONS = 200
SECONDS = 60.0


async def survey(
    resolver: Resolver, domain: str, *, selectors: Sequence[str] = (), ips: Sequence[IPv4Address] = ()
) -> list[Verdict]:
    """A verdict on each thing that receivers look at; `ips` are addresses that it sends from."""
    inquiry = resolver.inquiry(QUESTIONS, seconds=SECONDS)
    domain = same_form(domain)
    await inquiry.learn_all(known_beforehand(domain, selectors))
    return [
        *await of_exchanges(inquiry, domain),
        *await of_spf(inquiry, domain, ips),
        *[await of_address(inquiry, str(ip)) for ip in ips],
        *[await of_selector(inquiry, domain, selector) for selector in selectors],
        await of_dmarc(inquiry, domain),
        await of_text(inquiry, "mta-sts", f"_mta-sts.{domain}", judge.STS),
        await of_text(inquiry, "tls-rpt", f"_smtp._tls.{domain}", judge.TLSRPT),
    ]


def known_beforehand(domain: str, selectors: Sequence[str]) -> list[tuple[str, str]]:
    """What is asked in any case: together it costs one wait and not seven."""
    texts = [domain, *(key_name(selector, domain) for selector in selectors)]
    texts += [f"{label}.{domain}" for label in ("_dmarc", "_mta-sts", "_smtp._tls")]
    return [(domain, "MX"), *((name, "TXT") for name in texts)]


async def of_exchanges(inquiry: Inquiry, domain: str) -> list[Verdict]:
    """MX, the exchanges' addresses, and the addresses' names."""
    answer = await inquiry.ask(domain, "MX")
    if unknown := judge.known("mx", answer.outcome, domain):
        return [told(unknown, answer)]
    names = [value.split()[-1] for value in answer.values if not value.endswith(" .")]
    addresses: dict[str, tuple[str, ...] | None] = {}
    aliases: list[str] = []
    for name in names[:MOST_EXCHANGES] if answer.values else [domain]:
        host = await address_answer(inquiry, name)
        addresses[name] = host.values if host.outcome.settled else None
        aliases += [name] if host.cname else []
    mx = told(judge.judge_mx(answer.values, addresses, aliases), answer)
    known = dict.fromkeys(ip for found in addresses.values() for ip in found or ())
    ips = [ip for ip in known if ":" not in ip]  # of_address reads IPv4 alone
    return [mx, *[judge.judge_exchange(await of_address(inquiry, ip)) for ip in ips[:MOST_REVERSE]]]


async def address_answer(inquiry: Inquiry, name: str) -> Answer:
    """The addresses of a host: IPv4, and only where it has none IPv6."""
    host = await inquiry.ask(name, "A")
    return host if host.values or not host.outcome.settled else await inquiry.ask(name, "AAAA")


async def of_address(inquiry: Inquiry, ip: str) -> Verdict:
    """The reverse name of an address, and whether it leads back."""
    answer = await inquiry.ask(IPv4Address(ip).reverse_pointer, "PTR")
    if unknown := judge.known(f"ptr:{ip}", answer.outcome, ip):
        return told(unknown, answer)
    confirmed: bool | None = False
    for name in answer.values[:MOST_REVERSE]:
        forward = await inquiry.ask(name, "A")
        if ip in forward.values:
            confirmed = True
            break
        confirmed = None if not forward.outcome.settled else confirmed
    return told(judge.judge_reverse(ip, answer.values, confirmed), answer)


async def of_spf(inquiry: Inquiry, domain: str, ips: Sequence[IPv4Address]) -> list[Verdict]:
    """The record evaluated whole, for a stranger and for each address that is to pass."""
    answer = await inquiry.ask(domain, "TXT")
    if unknown := judge.known("spf", answer.outcome, domain):
        return [told(unknown, answer)]
    stranger = await check_host(judge.STRANGER, domain, inquiry.ask)
    senders = [told(judge.judge_sender(await check_host(ip, domain, inquiry.ask)), answer) for ip in ips]
    return [told(judge.judge_spf(spf_texts(answer.values), stranger), answer), *senders]


async def of_selector(inquiry: Inquiry, domain: str, selector: str) -> Verdict:
    """One DKIM key."""
    name = key_name(selector, domain)
    answer = await inquiry.ask(name, "TXT")
    unknown = judge.known(f"dkim:{selector}", answer.outcome, name)
    return told(unknown or judge.judge_selector(selector, answer.values), answer)


async def of_dmarc(inquiry: Inquiry, domain: str) -> Verdict:
    """The record at the domain itself; without one, the record that the whole walk upwards finds in force."""
    records: dict[str, DmarcRecord] = {}
    faults: list[str] = []
    answers: dict[str, Answer] = {}
    for name in discovery_names(domain):
        answer = answers[name] = await inquiry.ask(f"_dmarc.{name}", "TXT")
        if unknown := judge.known("dmarc", answer.outcome, f"_dmarc.{name}"):
            return told(unknown, answer)
        texts = dmarc_texts(answer.values)
        if len(texts) > 1:
            faults.append(f"_dmarc.{name} has {len(texts)} records, so receivers see none: keep one")
        elif texts:
            try:
                records[name] = seen_dmarc(texts[0])
            except DmarcSyntax as error:
                faults.append(f"_dmarc.{name}: {error}")
        if domain in records:
            break
    where = governing(domain, records) or domain
    return told(judge.judge_dmarc_of(domain, records, faults), answers[where])


async def of_text(inquiry: Inquiry, subject: str, name: str, version: str) -> Verdict:
    """A record that a domain may have."""
    answer = await inquiry.ask(name, "TXT")
    unknown = judge.known(subject, answer.outcome, name)
    return told(unknown or judge.judge_optional(subject, version, answer.values), answer)


def told(verdict: Verdict, answer: Answer) -> Verdict:
    """The verdict with the answer that it rests on, and what strangers wrote made harmless."""
    said = " | ".join(shown(answer.values)) or answer.outcome.value
    evidence = Evidence(answer.server, verdict.subject, said, answer.asked_at, answer.ttl_seconds)
    return Verdict(
        verdict.subject, verdict.truth, verdict.reason, verdict.expected, shown(verdict.found), plain(verdict.fix),
        (evidence,), verdict.warnings,
    )  # fmt: skip
