"""One certificate from an ACME authority, from the A record to the chain.

Look whether the names lead to the host and whether CAA permits; write the order down within the authority's limits;
place it, let the host answer, hand in the host's own request, fetch. A process that dies anywhere is followed by one
that asks the authority how far the order has come. What takes longer than a step may is a wait.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from flows.certificates.account import account_key
from flows.domains import observing
from flows.hosts import shell_on
from flows.onboarding.hosts import run_or_reject
from flows.outcomes import Waiting
from flows.policy import mail_host
from flows.policy.certificates import (
    FAILURES,
    FIRST_CERTIFICATES,
    ORDERS,
    Setback,
    caa_verdict,
    held_back,
    registered_domain,
    setback,
)
from flows.policy.records import ExpectedRecord, Holder, Merge, Need
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources
from flows.waiting import short_looks
from providers.acme import Acme, Order
from providers.errors import NotFound, Rejected, Unavailable
from providers.resolver import Outcome
from providers.ssh import Shell
from sql import acme_orders, domains
from sql.acme_orders import AcmeOrder
from sql.session import as_orchestrator
from sql.vps_instances import Instance

LOOK_AGAIN = timedelta(minutes=1)
PATIENCE_SECONDS = 40.0
FIRST_PAUSE_SECONDS = 0.3
STOP_SECONDS = 30
ENDED = frozenset({"valid", "invalid"})

Hosts = Mapping[str, IPv4Address]


async def issue_by_acme(r: Resources, instance: Instance, hosts: Hosts) -> str | Waiting:
    """The certificate, or what is waited for. The caller holds the host's lock."""
    try:
        if blocked := await unresolved(r, hosts):
            return blocked
        async with authority(r) as acme:
            if forbidden := await forbidden_by_caa(r, acme, hosts):
                return forbidden
            order = await open_order(r, instance, tuple(hosts))
            if isinstance(order, Waiting):
                return order
            async with shell_on(r, instance) as shell:
                return await carried_out(r, acme, shell, order)
    except Unavailable as error:
        if error.retry_after_seconds is None:
            raise
        pause = timedelta(seconds=max(error.retry_after_seconds, LOOK_AGAIN.total_seconds()))
        return Waiting("provider", f"the certificate authority asks to be left alone for {pause}: {error}", pause)


@asynccontextmanager
async def authority(r: Resources) -> AsyncGenerator[Acme]:
    """The configured authority, under the platform's one account there."""
    group = r.settings.mail_host
    if not group.acme_directory:
        raise Rejected("acme", "settings", "mail_host.acme_directory must be set")
    key = await account_key(r, group.acme_directory)
    async with Acme(group.acme_directory, key, contact=group.acme_contact, ca_file=group.acme_ca_file) as acme:
        yield acme


async def unresolved(r: Resources, hosts: Hosts) -> Waiting | None:
    """A name that does not lead to its host: the authority would fail it, and count that."""
    wrong = None
    async for _ in short_looks(r.settings.dns.publish_wait_seconds):
        wrong = await first_wrong(r, hosts)
        if wrong is None or (wrong.truth is Truth.FAIL and wrong.found):
            break  # it stands, and stands wrong: no moment's patience mends that
    if wrong is None:
        return None
    found = ", ".join(wrong.found) or "nothing"
    detail = f"expected {wrong.expected}, found {found} ({wrong.reason})"
    return Waiting("dns", f"no certificate before the A record of {wrong.subject} is right: {detail}", LOOK_AGAIN)


async def first_wrong(r: Resources, hosts: Hosts) -> Verdict | None:
    """The first name whose A record is not known to be right."""
    verdicts = await observing.judge_all(r.resolver, [forward(name, ip) for name, ip in hosts.items()])
    for (name, ip), verdict in zip(hosts.items(), verdicts, strict=True):
        if not verdict.passed:
            return verdict._replace(subject=name, expected=str(ip))
    return None


def forward(name: str, address: IPv4Address) -> ExpectedRecord:
    """The A record a certificate leans on."""
    return ExpectedRecord(
        "a", name, "A", (str(address),), Need.REQUIRED, Merge.EXACT, 300, Holder.TENANT, ips=(address,)
    )


async def forbidden_by_caa(r: Resources, acme: Acme, hosts: Hosts) -> Waiting | None:
    """A CAA record that names other authorities only; what cannot be known is left to the authority."""
    identities = await acme.caa_identities()
    for name in hosts:
        at, records = await relevant_caa(r, name)
        verdict = caa_verdict(name, records, identities, at)
        if verdict.truth is Truth.FAIL:
            return Waiting("dns", f"no certificate for {name}: {verdict.fix}", LOOK_AGAIN)
    return None


async def relevant_caa(r: Resources, name: str) -> tuple[str, tuple[str, ...]]:
    """Where the closest CAA set at or above a name stands, and what it says (RFC 8659 section 3)."""
    labels = name.split(".")
    for start in range(len(labels) - 1):
        at = ".".join(labels[start:])
        answer = await r.resolver.ask(at, "CAA")
        if answer.outcome is Outcome.FOUND and answer.values:
            return at, answer.values
    return name, ()


async def open_order(r: Resources, instance: Instance, names: tuple[str, ...]) -> AcmeOrder | Waiting:
    """The order of this server that is under way, or a new one written down; a wait when a limit is reached."""
    directory = r.settings.mail_host.acme_directory
    async with as_orchestrator(r.pool) as conn:
        await acme_orders.count_alone(conn, directory)
        present = await acme_orders.open_order(conn, instance.id)
        if present and (present.directory, present.names) == (directory, sorted(names)):
            return present
        if present:
            await acme_orders.end(conn, present.id, state="abandoned")
        owned = [domain.domain_name for domain in await domains.list_domains(conn, instance.tenant_id)]
        known = [zone for zone in (*owned, r.settings.dns.platform_zone) if zone]
        zones = sorted({registered_domain(name, known) for name in names})
        counted = await acme_orders.counted(
            conn, directory=directory, names=names, zones=zones, orders_within=ORDERS.window,
            certificates_within=FIRST_CERTIFICATES.window, failures_within=FAILURES.window,
        )  # fmt: skip
        now = datetime.now(UTC)
        hold = held_back(
            now, orders=counted.orders, first_certificates=counted.first_certificates, same_names=counted.same_names,
            failures=counted.failures, renews=counted.certified_before,
        )  # fmt: skip
        if hold is None:
            return await acme_orders.note_intent(
                conn, tenant_id=instance.tenant_id, vps_instance_id=instance.id, directory=directory, names=names,
                zones=zones,
            )  # fmt: skip
        last = await acme_orders.last_order(conn, instance.id)
    cause = meaning(last.problems) if hold.limit is FAILURES and last else None
    reason, sentence = (cause.reason, f"{cause.sentence}; {hold.sentence}") if cause else ("provider", hold.sentence)
    return Waiting(reason, sentence, hold.until - now)


async def carried_out(r: Resources, acme: Acme, shell: Shell, order: AcmeOrder) -> str | Waiting:
    """Take an order to its certificate, from wherever it stands at the authority."""
    csr = await run_or_reject(shell, mail_host.csr_script(order.names), "certificate request")
    try:
        url = order.order_url or await placed(r, acme, order)
        return await followed(r, acme, shell, order, url, csr)
    except NotFound as error:
        await give_up(r, order)
        raise Unavailable("acme", "look", f"the authority no longer knows the order ({error.detail})") from error
    except Rejected as error:
        if error.provider == "acme":
            await refused(r, order, [{"kind": error.action, "detail": error.detail, "name": ""}])
        raise


async def placed(r: Resources, acme: Acme, order: AcmeOrder) -> str:
    """Place the order and keep its address before anything else is done with it."""
    url = await acme.place_order(order.names)
    async with as_orchestrator(r.pool) as conn:
        await acme_orders.note_placed(conn, order.id, url)
    return url


async def followed(r: Resources, acme: Acme, shell: Shell, order: AcmeOrder, url: str, csr: str) -> str | Waiting:
    """Look, do what the order wants next, look again; the authority's own pauses are kept."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        look = await acme.look(url)
        if look.status in ENDED:
            # Until then the answers stay: whoever comes after us, or after our death, may need them still.
            await shell.run(mail_host.stop_script(), timeout_seconds=STOP_SECONDS)
            return await (fetched(r, acme, order, look, csr) if look.status == "valid" else failed(r, order, look))
        if look.status == "ready":
            await acme.finalize(look, csr)
        elif look.challenges:
            await answer(acme, shell, look)
        pause = max(min(pause * 1.5, 5.0), look.retry_after_seconds or 0.0)
        if time.monotonic() + pause > deadline:
            return still_at_work(look, pause)
        await asyncio.sleep(pause)


async def answer(acme: Acme, shell: Shell, look: Order) -> None:
    """Let the host serve all answers, then tell the authority of each."""
    script = mail_host.answer_script([(challenge.token, challenge.answer) for challenge in look.challenges])
    await run_or_reject(shell, script, "http01")
    for challenge in look.challenges:
        await acme.answer(challenge)


def still_at_work(look: Order, pause: float) -> Waiting:
    """The authority takes its time: a wait, not a sleep."""
    again = max(timedelta(seconds=pause), LOOK_AGAIN)
    return Waiting("provider", f"the certificate authority is still at work on the order ({look.status})", again)


async def fetched(r: Resources, acme: Acme, order: AcmeOrder, look: Order, csr: str) -> str:
    """The certificate, if it is for the key the host has now."""
    pem = await acme.fetch_certificate(look.certificate_url or "", csr)
    if pem is None:
        await give_up(r, order)
        raise Unavailable("acme", "fetch_certificate", "it is for a key the host no longer has; it is ordered anew")
    return pem


async def failed(r: Resources, order: AcmeOrder, look: Order) -> Waiting:
    """The authority gave the order up: remember why, it counts; say who can end it."""
    problems = [{"kind": one.kind, "detail": one.detail, "name": one.name} for one in look.problems]
    await refused(r, order, problems)
    cause = meaning(problems)
    return Waiting(cause.reason, cause.sentence, cause.again_in)


def meaning(problems: Sequence[Mapping[str, str]]) -> Setback:
    """What stored problems mean for the run."""
    return setback([(one["kind"], one["detail"], one["name"]) for one in problems])


async def refused(r: Resources, order: AcmeOrder, problems: Sequence[Mapping[str, str]]) -> None:
    """End an order as failed, with the authority's words."""
    async with as_orchestrator(r.pool) as conn:
        await acme_orders.end(conn, order.id, state="failed", problems=problems)


async def give_up(r: Resources, order: AcmeOrder) -> None:
    """End an order that leads nowhere any more; the next look makes a new one."""
    async with as_orchestrator(r.pool) as conn:
        await acme_orders.end(conn, order.id, state="abandoned")
