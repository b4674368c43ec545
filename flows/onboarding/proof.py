"""Prove that authenticated mail really arrives: a message to each receiver of ours, read back and judged."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.freshness import is_fresh
from flows.hosts import ensure_clock_trusted, instance_of
from flows.onboarding import canary
from flows.onboarding.canary import Path
from flows.onboarding.plans import Estate, estate_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.proof import is_proven, judge_absence, may_yet_be_answered, next_look
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources
from flows.steps import step
from providers.errors import Rejected
from providers.mail import Found
from sql import delivery_proofs
from sql.delivery_proofs import Proof
from sql.provisioning import Run
from sql.session import as_orchestrator


@step(name="prove_delivery")
async def ensure_delivery_proven(r: Resources, run: Run) -> Outcome:
    """One fresh, passing proof for every domain through its address at every receiver; nothing is active without it.

    All canaries are on their way before the first is waited for; a wait names the first trouble, a person's first.
    """
    estate = await estate_of(r, run)
    begun = [(path, await begun_proof(r, run, estate, path)) for path in paths(r, estate)]
    ended = [
        await judge_arrival(r, run, estate, path, state) if isinstance(state, Proof) else state for path, state in begun
    ]
    if waiting := worst([outcome for outcome in ended if isinstance(outcome, Waiting)]):
        return waiting
    return Done({"proven": [f"{path.domain.domain_name} at {path.receiver.authserv_id}" for path, _ in begun]})


def paths(r: Resources, estate: Estate) -> Iterator[Path]:
    """Every domain, through the address it sends from, at every receiver."""
    for domain in estate.domains:
        for receiver in r.settings.mail.proof_receivers:
            yield Path(domain, estate.sends_from[domain.id], receiver)


def worst(waits: Sequence[Waiting]) -> Waiting | None:
    """The wait that is told: one that needs a person, else the one that is looked at soonest."""
    order = sorted(waits, key=lambda wait: (wait.reason != "operator", wait.look_again_in or timedelta()))
    if len(order) < 2:  # noqa: PLR2004  one speaks for itself
        return order[0] if order else None
    return Waiting(order[0].reason, f"{order[0].detail} (and {len(order) - 1} more)", order[0].look_again_in)


async def begun_proof(r: Resources, run: Run, estate: Estate, path: Path) -> Proof | Waiting | None:
    """A canary on its way; None when a stored proof is fresh. Never a second one while the first may yet arrive."""
    proof = await latest(r, run, path)
    if proof is not None and is_fresh(r, proof):
        return None
    if proof is None or has_spoken(proof):
        if waiting := await budget_spent(r, run, path):
            return waiting
        proof = await canary.intend(r, run, path)
    if proof.sent_at is None and not await canary.arrived(r, path, proof):
        await ensure_clock_trusted(r, await instance_of(r, run))
        try:
            await canary.send(r, estate, path, proof)
        except Rejected as error:
            return await note_refusal(r, run, path, proof, error)
    return proof


def has_spoken(proof: Proof) -> bool:
    """Whether a canary has said what it can: another look at it would say the same."""
    checks = [Verdict(name, Truth(check["truth"]), check["reason"]) for name, check in proof.checks.items()]
    return proof.verdict != Truth.UNKNOWN or (bool(checks) and not may_yet_be_answered(checks))


async def latest(r: Resources, run: Run, path: Path) -> Proof | None:
    """The newest canary of this path."""
    async with as_orchestrator(r.pool) as conn:
        return await delivery_proofs.latest_proof(
            conn, tenant_id=run.tenant_id, domain_id=path.domain.id, smtp_ip_address_id=path.address.id,
            receiver=path.receiver.address,
        )  # fmt: skip


async def budget_spent(r: Resources, run: Run, path: Path) -> Waiting | None:
    """A receiver that refused several canaries in a day is not knocked at again until a person has looked."""
    async with as_orchestrator(r.pool) as conn:
        had = await delivery_proofs.canaries_of_a_day(
            conn, tenant_id=run.tenant_id, domain_id=path.domain.id, smtp_ip_address_id=path.address.id,
            receiver=path.receiver.address,
        )  # fmt: skip
    if had < r.settings.mail.canaries_per_day:
        return None
    return Waiting(
        "operator",
        f"{path.words} was tried {had} times in 24 hours at {path.receiver.address} and did not prove: find the cause,"
        f" and once a day has passed: python -m flows retry {run.id}",
    )


async def judge_arrival(r: Resources, run: Run, estate: Estate, path: Path, proof: Proof) -> Waiting | None:
    """Wait for the message, judge it, and store it raw with all that the verdicts rest on."""
    if proof.sent_at is not None and await canary.arrived(r, path, proof) is None:
        await canary.fate_of(r, run, proof)  # sent by an earlier start: a deferred one is tried again before the wait
    found = await canary.awaited(r, path, proof)
    if found is None:
        return await judge_silence(r, run, path, proof)
    return await judge_arrived(r, run, estate, path, proof, found)


async def judge_arrived(
    r: Resources, run: Run, estate: Estate, path: Path, proof: Proof, found: Found
) -> Waiting | None:
    """The verdict on a message that is there; where DNS alone kept silent, the same message is judged again later."""
    verdicts, evidence = await canary.judged(r, run, estate, path, proof, found)
    truth = is_proven(verdicts)
    await note(r, proof, truth, verdicts, raw_message=found.raw, evidence=evidence)
    if truth is Truth.PASS:
        return None
    if may_yet_be_answered(verdicts):
        open_yet = ", ".join(verdict.subject for verdict in verdicts if verdict.truth is Truth.UNKNOWN)
        return Waiting(
            "provider",
            f"{path.words} arrived, and DNS did not answer for {open_yet}: the same message is looked at again",
            next_look(datetime.now(UTC) - (proof.sent_at or datetime.now(UTC))),
        )
    bad = [
        f"{v.subject}: {v.fix or v.reason} (found {', '.join(v.found) or 'nothing'})" for v in verdicts if not v.passed
    ]
    return Waiting("operator", f"{path.words} arrived and does not prove: {'; '.join(bad)}")


async def judge_silence(r: Resources, run: Run, path: Path, proof: Proof) -> Waiting:
    """It is in no folder: what our own host says of it decides between waiting and a person."""
    fate = await canary.fate_of(r, run, proof)
    since = datetime.now(UTC) - (proof.sent_at or datetime.now(UTC))
    verdict = judge_absence(fate, path.receiver.mx, since)
    if verdict.truth is Truth.FAIL:
        await note(r, proof, Truth.FAIL, [verdict], raw_message=None)
        return Waiting(
            "operator",
            f"{path.words} does not arrive: {verdict.fix}; mend the cause, then: python -m flows retry {run.id}",
        )
    said = f": {path.receiver.mx} defers it ({fate.words}), and it is tried again" if fate.status == "deferred" else ""
    return Waiting(
        "provider",
        f"{path.words} is not in {path.receiver.address} yet (nonce {proof.nonce[:8]}){said}",
        next_look(since),
    )


async def note(
    r: Resources,
    proof: Proof,
    truth: Truth,
    verdicts: Sequence[Verdict],
    *,
    raw_message: bytes | None,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """The answer to a canary, as it is stored."""
    async with as_orchestrator(r.pool) as conn:
        await delivery_proofs.note_verdict(
            conn, proof.id, verdict=truth, checks={v.subject: as_json(v) for v in verdicts}, raw_message=raw_message,
            evidence=evidence,
        )  # fmt: skip


async def note_refusal(r: Resources, run: Run, path: Path, proof: Proof, error: Rejected) -> Waiting:
    """Our own host refused the canary: that is an answer, and it is kept."""
    instance = await instance_of(r, run)
    await note(r, proof, Truth.FAIL, [Verdict("submission", Truth.FAIL, str(error))], raw_message=None)
    return Waiting(
        "operator",
        f"{instance.hostname or instance.token} refused {path.words}: {error}; then: python -m flows retry {run.id}",
    )


def as_json(verdict: Verdict) -> dict[str, Any]:
    """One check as it is stored."""
    return {
        "truth": verdict.truth, "reason": verdict.reason, "expected": verdict.expected, "found": list(verdict.found),
        "fix": verdict.fix,
    }  # fmt: skip
