"""What a tenant's mail host should be, read from the tables; secrets are opened here and go to the host alone."""

from flows import vault
from flows.hosts import instance_of
from flows.onboarding.plans import ALGORITHMS, Estate, estate_of, signing_keys
from flows.policy.lifecycle import MailboxStatus
from flows.policy.mail_host import DkimSigner, HostMailbox, MailDomain, MailHost, SendingAddress, Upstream
from flows.policy.presets import first_day, preset
from flows.policy.unpaid import refusing
from flows.resources import Resources
from sql import email_accounts, submission
from sql.domains import Domain
from sql.email_accounts import Mailbox
from sql.provisioning import Run
from sql.session import as_orchestrator

CERTIFICATE = "certificate_pem"  # in vps_instances.configuration
HOSTED = frozenset({MailboxStatus.PENDING, MailboxStatus.ACTIVE, MailboxStatus.ISSUE, MailboxStatus.PAUSED})
POSTMASTER_MB = 256


async def desired_host(r: Resources, run: Run) -> MailHost:
    """Whole and in one piece, so that any step may converge at any time."""
    instance = await instance_of(r, run)
    estate = await estate_of(r, run)
    async with as_orchestrator(r.pool) as conn:
        boxes = await email_accounts.list_mailboxes(conn, run.tenant_id)
        paid = await submission.may_send(conn, run.tenant_id)
    upstream = r.settings.mail_host.dns_upstream
    host = MailHost(
        hostname=estate.hostname,
        addresses=tuple(
            SendingAddress(ip=address.ip_address, helo=estate.names[address.id], transport=transport_name(place))
            for place, address in enumerate(estate.addresses)
        ),
        domains=tuple([await mail_domain(r, estate, domain) for domain in estate.domains]),
        mailboxes=(
            *(hosted(box) for box in boxes if box.password_hash and box.status in HOSTED),
            *[box for domain in estate.domains if (box := await postmaster_box(r, domain))],
        ),
        certificate_pem=instance.configuration.get(CERTIFICATE),
        resolver=Upstream((upstream,) if upstream else ()),
        first_day_cap=first_day(preset("warmup_ramp", "penguin-careful-40")),
    )
    return host if paid else refusing(host)


def transport_name(place: int) -> str:
    """`smtp-ip1` for the main address, and on."""
    return f"smtp-ip{place + 1}"


async def mail_domain(r: Resources, estate: Estate, domain: Domain) -> MailDomain:
    """One domain with its keys; only those whose record was verified may sign."""
    sending = estate.sends_from[domain.id]
    signing = signing_keys(estate, domain)
    signers = [
        DkimSigner(
            selector=key.selector,
            algorithm="rsa" if ALGORITHMS[key.algorithm] == "rsa" else "ed25519",
            private_pem=(
                await vault.fetch_sure(r, tenant_id=domain.tenant_id, path=f"dkim/{domain.domain_name}/{key.selector}")
            ).get_secret_value(),
            signs=key in signing,
        )
        for key in estate.keys[domain.id]
    ]
    place = [address.id for address in estate.addresses].index(sending.id)
    keys = await vault.fetch(r, tenant_id=domain.tenant_id, path=return_path_keys_path(domain.domain_name))
    return MailDomain(
        name=domain.domain_name, transport=transport_name(place), dkim=tuple(signers),
        return_path_keys=tuple(keys.get_secret_value().split()) if keys else (),
    )  # fmt: skip


def hosted(box: Mailbox) -> HostMailbox:
    """A tenant's mailbox as the host knows it."""
    domain = box.email_address.rpartition("@")[2]
    return HostMailbox(box.email_address, box.password_hash or "", box.quota_mb, domain)


async def postmaster_box(r: Resources, domain: Domain) -> HostMailbox | None:
    """The mailbox that canaries leave from and that postmaster@ and abuse@ reach; None until it has a password."""
    address = postmaster(domain)
    secret = await vault.fetch(r, tenant_id=domain.tenant_id, path=hash_path(address))
    return HostMailbox(address, secret.get_secret_value(), POSTMASTER_MB, domain.domain_name) if secret else None


def postmaster(domain: Domain) -> str:
    """Not one of the tenant's mailboxes: it is ours, on every domain."""
    return f"postmaster@{domain.domain_name}"


def password_path(address: str) -> str:
    """Where a mailbox's password is sealed."""
    return f"mailbox/{address}"


def return_path_keys_path(domain_name: str) -> str:
    """Where the keys of a domain's return paths are sealed: hex, the newest first, a blank between two."""
    return f"return-path/{domain_name}"


def hash_path(address: str) -> str:
    """Where the hash of a mailbox that has no row of its own is sealed."""
    return f"mailbox-hash/{address}"
