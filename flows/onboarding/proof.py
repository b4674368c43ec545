"""Prove that authenticated mail really arrives: a message to a receiver of ours, read back and judged."""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from flows import vault
from flows.onboarding.desired import password_path, postmaster
from flows.onboarding.plans import ALGORITHMS, Estate, estate_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.lifecycle import DkimKeyStatus
from flows.policy.proof import NONCE_HEADER, ProofExpectation, VerifiedSignature, is_proven, judge_delivery
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources
from flows.runs import instance_of
from flows.settings import ProofReceiver
from flows.steps import step
from flows.waiting import short_looks
from providers.errors import Rejected
from providers.mail import Mailbox, Submission
from providers.resolver import Answer
from providers.resolver import Outcome as Found
from providers.signatures import signature_names, verify_dkim
from sql import delivery_proofs
from sql.delivery_proofs import Proof
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.smtp_ip_addresses import Address

LOOK_AGAIN = timedelta(minutes=2)


@step(name="prove_delivery")
async def ensure_delivery_proven(r: Resources, run: Run) -> Outcome:
    """One fresh, passing proof for every domain through its address at every receiver; nothing is active without it."""
    estate = await estate_of(r, run)
    proven: list[str] = []
    for domain in estate.domains:
        for receiver in r.settings.mail.proof_receivers:
            if waiting := await ensure_proof(r, run, estate, domain, receiver):
                return waiting
            proven.append(f"{domain.domain_name} at {receiver.authserv_id}")
    return Done({"proven": proven})


async def ensure_proof(
    r: Resources, run: Run, estate: Estate, domain: Domain, receiver: ProofReceiver
) -> Waiting | None:
    """A stored proof that is fresh will do; one on its way is waited for; only then a canary leaves."""
    address = estate.sends_from[domain.id]
    proof = await latest(r, run, domain, address, receiver)
    if proof is not None and is_fresh(r, proof):
        return None
    if proof is None or proof.verdict != Truth.UNKNOWN:
        proof = await intend(r, run, domain, address, receiver)
    if proof.sent_at is None and not await arrived(r, receiver, proof):
        try:
            await send(r, estate, domain, receiver, proof)
        except Rejected as error:
            return await note_refusal(r, run, domain, proof, error)
    return await judge_arrival(r, estate, domain, receiver, proof)


async def latest(r: Resources, run: Run, domain: Domain, address: Address, receiver: ProofReceiver) -> Proof | None:
    """The newest canary of this path."""
    async with as_orchestrator(r.pool) as conn:
        return await delivery_proofs.latest_proof(
            conn, tenant_id=run.tenant_id, domain_id=domain.id, smtp_ip_address_id=address.id, receiver=receiver.address
        )


def is_fresh(r: Resources, proof: Proof) -> bool:
    """Passed, and young enough to rest on."""
    age = timedelta(hours=r.settings.mail.proof_max_age_hours)
    return proof.verdict == Truth.PASS and proof.received_at is not None and proof.received_at > datetime.now(UTC) - age


async def intend(r: Resources, run: Run, domain: Domain, address: Address, receiver: ProofReceiver) -> Proof:
    """Write the canary down before it leaves."""
    nonce = secrets.token_hex(16)
    async with as_orchestrator(r.pool) as conn:
        return await delivery_proofs.intend_proof(
            conn, tenant_id=run.tenant_id, run_id=run.id, domain_id=domain.id, smtp_ip_address_id=address.id,
            receiver=receiver.address, nonce=nonce, message_id=f"<{nonce}@{domain.domain_name}>",
        )  # fmt: skip


async def send(r: Resources, estate: Estate, domain: Domain, receiver: ProofReceiver, proof: Proof) -> None:
    """Submit the canary as the domain's postmaster; its Message-ID is the same on every try."""
    sender = postmaster(domain)
    password = await vault.fetch_sure(r, tenant_id=domain.tenant_id, path=password_path(sender))
    host = estate.names[estate.addresses[0].id]
    submission = Submission(host, user=sender, password=password, ca_file=r.settings.mail.ca_file)
    await submission.send(canary(sender, receiver.address, proof), sender=sender, recipients=[receiver.address])
    async with as_orchestrator(r.pool) as conn:
        await delivery_proofs.note_sent(conn, proof.id)


def canary(sender: str, recipient: str, proof: Proof) -> bytes:
    """The message itself."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = f"Delivery proof {proof.nonce[:8]}"
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = proof.message_id
    message[NONCE_HEADER] = proof.nonce
    message.set_content("This message proves that mail of this domain arrives and is authenticated. Nobody reads it.\n")
    return message.as_bytes()


async def arrived(r: Resources, receiver: ProofReceiver, proof: Proof) -> bytes | None:
    """The canary as the receiver's mailbox holds it."""
    mailbox = Mailbox(
        receiver.imap_host, user=receiver.username, password=receiver.password, ca_file=r.settings.mail.ca_file
    )
    found = await mailbox.find(NONCE_HEADER, proof.nonce)
    return found[0].raw if found else None


async def judge_arrival(
    r: Resources, estate: Estate, domain: Domain, receiver: ProofReceiver, proof: Proof
) -> Waiting | None:
    """Wait for the message, judge it, store it raw."""
    raw: bytes | None = None
    async for _ in short_looks(r.settings.mail.arrival_wait_seconds):
        if raw := await arrived(r, receiver, proof):
            break
    if raw is None:
        return Waiting(
            "provider",
            f"the canary of {domain.domain_name} is not in {receiver.address} yet (nonce {proof.nonce[:8]})",
            LOOK_AGAIN,
        )  # fmt: skip
    verdicts = await judged(r, estate, domain, receiver, proof, raw)
    truth = is_proven(verdicts)
    async with as_orchestrator(r.pool) as conn:
        await delivery_proofs.note_verdict(
            conn, proof.id, verdict=truth, checks={v.subject: as_json(v) for v in verdicts}, raw_message=raw
        )
    if truth is Truth.PASS:
        return None
    bad = [
        f"{v.subject}: {v.fix or v.reason} (found {', '.join(v.found) or 'nothing'})" for v in verdicts if not v.passed
    ]
    return Waiting("operator", f"the canary of {domain.domain_name} arrived and does not prove: {'; '.join(bad)}")


async def judged(
    r: Resources, estate: Estate, domain: Domain, receiver: ProofReceiver, proof: Proof, raw: bytes
) -> Sequence[Verdict]:
    """What the receiver says, and what we verify again ourselves against DNS."""
    address = estate.sends_from[domain.id]
    helo = estate.names[address.id]
    names = signature_names(raw)
    keys, ptr, forward = await asyncio.gather(
        asyncio.gather(*(r.resolver.ask(name, "TXT") for name in names)),
        r.resolver.ask(address.ip_address.reverse_pointer, "PTR"),
        r.resolver.ask(helo, "A"),
    )
    records = {name: answer.values[0] for name, answer in zip(names, keys, strict=True) if answer.values}
    signatures = verify_dkim(raw, records)
    expectation = ProofExpectation(
        domain=domain.domain_name,
        ip=address.ip_address,
        helo=helo,
        authserv_id=receiver.authserv_id,
        selectors={
            ALGORITHMS[key.algorithm]: key.selector
            for key in estate.keys[domain.id]
            if key.status in {DkimKeyStatus.VERIFIED, DkimKeyStatus.ACTIVE}
        },
        nonce=proof.nonce,
        receiver_mx=receiver.mx,
    )
    return judge_delivery(
        raw,
        expectation,
        tuple(VerifiedSignature(s.domain, s.selector, s.algorithm, s.valid) for s in signatures),
        values_of(ptr),
        values_of(forward),
        fetched_at=datetime.now(UTC),
    )


def values_of(answer: Answer) -> Sequence[str] | None:
    """What DNS said; None when it said nothing."""
    return answer.values if answer.outcome in {Found.FOUND, Found.ABSENT} else None


async def note_refusal(r: Resources, run: Run, domain: Domain, proof: Proof, error: Rejected) -> Waiting:
    """Our own host refused the canary: that is an answer, and it is kept."""
    instance = await instance_of(r, run)
    async with as_orchestrator(r.pool) as conn:
        await delivery_proofs.note_verdict(
            conn, proof.id, verdict=Truth.FAIL, checks={"submission": {"truth": Truth.FAIL, "reason": str(error)}},
            raw_message=None,
        )  # fmt: skip
    return Waiting(
        "operator",
        f"{instance.hostname or instance.token} refused the canary of {domain.domain_name}: {error}; then:"
        f" python -m flows retry {run.id}",
    )


def as_json(verdict: Verdict) -> dict[str, Any]:
    """One check as it is stored."""
    return {
        "truth": verdict.truth, "reason": verdict.reason, "expected": verdict.expected, "found": list(verdict.found),
        "fix": verdict.fix,
    }  # fmt: skip
