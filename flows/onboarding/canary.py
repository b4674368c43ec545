"""One canary: written down, sent, looked for in the receiver's mailbox and in our own queue, and judged."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from flows import vault
from flows.hosts import instance_of, shell_on
from flows.onboarding.desired import CERTIFICATE, password_path, postmaster
from flows.onboarding.plans import ALGORITHMS, Estate, signing_keys
from flows.policy.proof import (
    NONCE_HEADER,
    Fate,
    ProofExpectation,
    VerifiedSignature,
    fate_script,
    judge_delivery,
    judge_placement,
    read_fate,
)
from flows.policy.verdict import Verdict
from flows.resources import Resources
from flows.settings import ProofReceiver
from flows.waiting import short_looks
from providers.mail import Found, Mailbox, Submission
from providers.resolver import Answer
from providers.resolver import Outcome as Asked
from providers.signatures import signature_names, verify_dkim
from sql import delivery_proofs
from sql.delivery_proofs import Proof
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.smtp_ip_addresses import Address

LOOK_SECONDS = 60  # for reading the mail log of a host


@dataclass(frozen=True, slots=True)
class Path:
    """What one canary proves: a domain, the address it leaves from, and a receiver."""

    domain: Domain
    address: Address
    receiver: ProofReceiver

    @property
    def words(self) -> str:
        """As a sentence names it."""
        return f"the canary of {self.domain.domain_name}"


async def intend(r: Resources, run: Run, path: Path) -> Proof:
    """Write the canary down before it leaves."""
    nonce = secrets.token_hex(16)
    async with as_orchestrator(r.pool) as conn:
        return await delivery_proofs.intend_proof(
            conn, tenant_id=run.tenant_id, run_id=run.id, domain_id=path.domain.id, smtp_ip_address_id=path.address.id,
            receiver=path.receiver.address, nonce=nonce, message_id=f"<{nonce}@{path.domain.domain_name}>",
        )  # fmt: skip


async def send(r: Resources, estate: Estate, path: Path, proof: Proof) -> None:
    """Submit the canary as the domain's postmaster; its Message-ID is the same on every try."""
    sender = postmaster(path.domain)
    password = await vault.fetch_sure(r, tenant_id=path.domain.tenant_id, path=password_path(sender))
    host = estate.hostname
    submission = Submission(host, user=sender, password=password, ca_file=r.settings.mail.ca_file)
    message = canary(sender, path.receiver.address, proof)
    await submission.send(message, sender=sender, recipients=[path.receiver.address])
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


async def arrived(r: Resources, path: Path, proof: Proof) -> Found | None:
    """The canary as the receiver's mailbox holds it, in whatever folder."""
    receiver = path.receiver
    mailbox = Mailbox(
        receiver.imap_host, user=receiver.username, password=receiver.password, ca_file=r.settings.mail.ca_file
    )
    found = await mailbox.find(NONCE_HEADER, proof.nonce)
    return found[0] if found else None


async def awaited(r: Resources, path: Path, proof: Proof) -> Found | None:
    """The same, for as long as a run stays."""
    async for _ in short_looks(r.settings.mail.arrival_wait_seconds):
        if found := await arrived(r, path, proof):
            return found
    return None


async def fate_of(r: Resources, run: Run, proof: Proof) -> Fate:
    """What the host's own log says of a canary that is in no mailbox; a deferred one is tried again by this look."""
    async with shell_on(r, await instance_of(r, run)) as shell:
        looked = await shell.run(fate_script(proof.message_id), timeout_seconds=LOOK_SECONDS)
    return read_fate(looked.stdout)


async def judged(
    r: Resources, run: Run, estate: Estate, path: Path, proof: Proof, found: Found
) -> tuple[Sequence[Verdict], Mapping[str, Any]]:
    """What the receiver says and what we verify again ourselves against DNS; and all that this rests on."""
    answers = await asked(r, estate, path, signature_names(found.raw))
    expectation = expected(estate, path, proof)
    verdicts = judge_delivery(
        found.raw,
        expectation,
        verified(found.raw, answers),
        values_of(answers[path.address.ip_address.reverse_pointer, "PTR"]),
        values_of(answers[expectation.helo, "A"]),
        fetched_at=datetime.now(UTC),
    )
    instance = await instance_of(r, run)
    evidence = {
        "expected": expectation_as_json(expectation),
        "folder": found.folder,
        "answers": [answer_as_json(name, rtype, answer) for (name, rtype), answer in answers.items()],
        "certificate": instance.configuration.get(CERTIFICATE, ""),
    }
    return (*verdicts, judge_placement(found.folder)), evidence


def verified(raw: bytes, answers: Mapping[tuple[str, str], Answer]) -> tuple[VerifiedSignature, ...]:
    """Every signature by our own check; where DNS said nothing of its key, it is neither valid nor invalid."""
    texts = {name: values_of(answer) for (name, rtype), answer in answers.items() if rtype == "TXT"}
    keys = {name: values[0] for name, values in texts.items() if values}
    silent = {name for name, values in texts.items() if values is None}
    return tuple(
        VerifiedSignature(one.domain, one.selector, one.algorithm, None if one.key_name in silent else one.valid)
        for one in verify_dkim(raw, keys)
    )


async def asked(r: Resources, estate: Estate, path: Path, key_names: Sequence[str]) -> Mapping[tuple[str, str], Answer]:
    """Everything in DNS that a proof rests on, each question once."""
    domain, helo = path.domain.domain_name, estate.names[path.address.id]
    questions = dict.fromkeys((
        *((name, "TXT") for name in key_names),
        (path.address.ip_address.reverse_pointer, "PTR"),
        (helo, "A"),
        *((name, "TXT") for name in (domain, f"bounce.{domain}", helo, f"_dmarc.{domain}")),
    ))  # fmt: skip
    answers = await asyncio.gather(*(r.resolver.ask(name, rtype) for name, rtype in questions))
    return dict(zip(questions, answers, strict=True))


def expected(estate: Estate, path: Path, proof: Proof) -> ProofExpectation:
    """What the message has to show."""
    return ProofExpectation(
        domain=path.domain.domain_name,
        ip=path.address.ip_address,
        helo=estate.names[path.address.id],
        authserv_id=path.receiver.authserv_id,
        selectors={ALGORITHMS[key.algorithm]: key.selector for key in signing_keys(estate, path.domain)},
        nonce=proof.nonce,
        receiver_mx=path.receiver.mx,
    )


def values_of(answer: Answer) -> Sequence[str] | None:
    """What DNS said; None when it said nothing."""
    return answer.values if answer.outcome in {Asked.FOUND, Asked.ABSENT} else None


def expectation_as_json(expectation: ProofExpectation) -> Mapping[str, Any]:
    """As a stranger finds it in a bundle."""
    return {
        "domain": expectation.domain, "ip": str(expectation.ip), "helo": expectation.helo,
        "authserv_id": expectation.authserv_id, "selectors": dict(expectation.selectors), "nonce": expectation.nonce,
        "receiver_mx": expectation.receiver_mx,
    }  # fmt: skip


def answer_as_json(name: str, rtype: str, answer: Answer) -> Mapping[str, Any]:
    """One answer with its server and time."""
    return {
        "name": name, "type": rtype, "outcome": answer.outcome.value, "values": list(answer.values),
        "ttl_seconds": answer.ttl_seconds, "server": answer.server, "asked_at": answer.asked_at.isoformat(),
    }  # fmt: skip
