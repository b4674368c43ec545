"""The DMARC policy that a domain is under while it has no record of its own, asked of the DNS."""

from flows.policy.dmarc import (
    DmarcRecord,
    DmarcSyntax,
    beginning,
    discovery_names,
    dmarc_texts,
    governing,
    parse_dmarc,
)
from flows.policy.records import dmarc_start, entries
from providers.errors import Unavailable
from providers.resolver import Answer, Resolver
from sql.domains import Domain


async def start_of(resolver: Resolver, domain: Domain) -> str:
    """How its record begins: nothing in force is weakened while it has none; once it has one, as was decided then."""
    own = await own_record(resolver, domain.domain_name)
    if not own.outcome.settled:
        raise Unavailable("dns", "dmarc", f"_dmarc.{domain.domain_name}: {own.outcome}")
    if dmarc_texts(own.values):
        return dmarc_start(entry.expected for entry in entries(domain.dns_records))
    return beginning(await record_above(resolver, domain.domain_name))


async def own_record(resolver: Resolver, domain: str) -> Answer:
    """As an authority has it, else a resolver: that one remembers an absence, and would not see what comes next."""
    name = f"_dmarc.{domain}"
    for _, address in (await resolver.authorities(domain)).servers:
        if address and (answer := await resolver.ask(name, "TXT", at=address)).outcome.settled:
            return answer
    return await resolver.ask(name, "TXT")


async def record_above(resolver: Resolver, domain: str) -> DmarcRecord | None:
    """What receivers go by while the domain has no record; Unavailable while nobody can say."""
    records: dict[str, DmarcRecord] = {}
    for name in discovery_names(domain)[1:]:
        answer = await resolver.ask(f"_dmarc.{name}", "TXT")
        if not answer.outcome.settled:
            raise Unavailable("dns", "dmarc", f"_dmarc.{name}: {answer.outcome}")
        texts = dmarc_texts(answer.values)
        try:
            records |= {name: parse_dmarc(texts[0])} if len(texts) == 1 else {}
        except DmarcSyntax:
            continue
    where = governing(domain, records)
    return records[where] if where else None
