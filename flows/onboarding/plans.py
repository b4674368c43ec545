"""The plan of each domain's records, read from the tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from flows.hosts import instance_of
from flows.policy import dkim_life
from flows.policy.lifecycle import DkimKeyStatus
from flows.policy.records import DkimRecord, DomainPlan, HostAddress, dmarc_start, entries
from flows.resources import Resources
from sql import dkim_keys, domain_ip_assignments, domains, smtp_ip_addresses
from sql.dkim_keys import DkimKey
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.smtp_ip_addresses import Address

ALGORITHMS: Mapping[str, str] = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
"""The table's words (as in a signature's a= tag) to the key record's k= words."""


@dataclass(frozen=True, slots=True)
class Estate:
    """What a tenant has: addresses with their host names, domains with their keys, and who sends from where."""

    addresses: tuple[Address, ...]
    names: Mapping[int, str]  # smtp_ip_addresses.id to the name its PTR, HELO and A agree on
    domains: tuple[Domain, ...]
    keys: Mapping[int, tuple[DkimKey, ...]]  # by domains.id
    sends_from: Mapping[int, Address]  # by domains.id

    @property
    def hostname(self) -> str:
        """The host's own name, which is that of its main address. Raises LookupError where there is none yet."""
        if not self.addresses:
            raise LookupError("the host has no sending address in the tables yet")
        return self.names[self.addresses[0].id]

    @property
    def hosts(self) -> tuple[HostAddress, ...]:
        """Every address under its name, the main one first."""
        return tuple(HostAddress(self.names[address.id], address.ip_address) for address in self.addresses)


async def estate_of(r: Resources, run: Run) -> Estate:
    """Read it whole, in one transaction."""
    instance = await instance_of(r, run)
    async with as_orchestrator(r.pool) as conn:
        addresses = tuple(await smtp_ip_addresses.list_addresses(conn, instance.id))
        owned = tuple(await domains.list_domains(conn, run.tenant_id))
        keys = await dkim_keys.list_keys(conn, run.tenant_id)
        assigned = await domain_ip_assignments.list_assignments(conn, run.tenant_id)
    by_id = {address.id: address for address in addresses}
    sends_from = {
        item.domain_id: by_id[item.smtp_ip_address_id] for item in assigned if item.smtp_ip_address_id in by_id
    }
    return Estate(
        addresses=addresses,
        names=host_names(addresses, owned, sends_from, instance.token, r.settings.dns.platform_zone),
        domains=owned,
        keys={domain.id: tuple(key for key in keys if key.domain_id == domain.id) for domain in owned},
        sends_from=sends_from,
    )


def host_names(
    addresses: tuple[Address, ...],
    owned: tuple[Domain, ...],
    sends_from: Mapping[int, Address],
    token: str,
    platform_zone: str,
) -> Mapping[int, str]:
    """`mail.<first domain>` of each address, mail2 where that domain has one; a name of ours when it has none."""
    names: dict[int, str] = {}
    for place, address in enumerate(addresses):
        if address.rdns_hostname:
            names[address.id] = address.rdns_hostname
            continue
        first = next((domain for domain in owned if sends_from.get(domain.id) == address), owned[0] if owned else None)
        zone = first.domain_name if first else platform_zone
        wanted = [f"mail{number or ''}.{zone}" for number in (0, *range(2, len(addresses) + 2))]
        free = next((name for name in wanted if name not in names.values()), f"{token}-{place}.{platform_zone}")
        names[address.id] = free
    return names


def signing_keys(estate: Estate, domain: Domain) -> tuple[DkimKey, ...]:
    """The keys of a domain that sign: one of each algorithm, also while a successor is under way."""
    active = active_algorithms(estate, domain)
    return tuple(
        key for key in estate.keys[domain.id] if dkim_life.signs(key.status, has_active=key.algorithm in active)
    )


def active_algorithms(estate: Estate, domain: Domain) -> frozenset[str]:
    """The algorithms that have an active key."""
    return frozenset(key.algorithm for key in estate.keys[domain.id] if key.status == DkimKeyStatus.ACTIVE)


def plan_of(r: Resources, estate: Estate, domain: Domain) -> DomainPlan:
    """What one domain should publish."""
    sending = estate.sends_from[domain.id].ip_address
    standby: tuple[IPv4Address, ...] = tuple(
        address.ip_address for address in estate.addresses if address.ip_address != sending
    )
    return DomainPlan(
        domain=domain.domain_name,
        hosts=estate.hosts,
        sending_ip=sending,
        standby_ips=standby,
        dkim=tuple(
            DkimRecord(
                key.selector,
                ALGORITHMS[key.algorithm],
                key.public_key,
                gates=dkim_life.gates(key.status, has_active=key.algorithm in active_algorithms(estate, domain)),
            )
            for key in estate.keys[domain.id]
        ),
        dmarc_rua=r.settings.dns.dmarc_rua or None,
        platform_zone=r.settings.dns.platform_zone or None,
        label=domain.dns_label,
        manage_mx=domain.manage_mx,
        verification_token=domain.verification_token or "",
        dmarc_start=dmarc_start(entry.expected for entry in entries(domain.dns_records)),
    )
