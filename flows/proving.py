"""One bundle that proves a tenant's delivery, and its examination by whoever holds it, without us and any network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any

from pydantic import SecretStr

from flows import vault
from flows.policy.names import same_form
from flows.policy.proof import (
    Bundle,
    ProofExpectation,
    Spoiled,
    VerifiedSignature,
    as_bytes,
    is_proven,
    judge_delivery,
    judge_placement,
    manifest_of,
    packed,
    unpacked,
)
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources
from providers.errors import Rejected
from providers.keys import certificate_facts
from providers.signatures import verify_dkim
from providers.signing import Mark, fingerprint, holds, new_signing_key, signed
from sql import delivery_proofs
from sql.delivery_proofs import StoredProof
from sql.session import as_orchestrator
from sql.tenants import Tenant

KEY_PATH = "proof/signing-key"
MESSAGE, EVIDENCE, VERDICTS, CERTIFICATE = "message.eml", "evidence.json", "verdicts.json", "certificate.pem"


@dataclass(frozen=True, slots=True)
class Examined:
    """What a bundle shows of one path: a sentence, and every verdict as judged again from the bundle alone."""

    path: str
    sentence: str
    verdicts: tuple[Verdict, ...]

    @property
    def truth(self) -> Truth:
        """Whether this path is proven."""
        return is_proven(self.verdicts)


@dataclass(frozen=True, slots=True)
class Report:
    """A bundle that is whole and signed: by whose key, about whom, and each path."""

    fingerprint: str
    about: Mapping[str, Any]
    paths: tuple[Examined, ...]


async def bundle_of(r: Resources, tenant: Tenant) -> bytes:
    """The newest passing proof of every path of a tenant, packed and signed; the same proofs give the same bytes.

    Rejected when there is none that was stored with all it rests on.
    """
    async with as_orchestrator(r.pool) as conn:
        proofs = [proof for proof in await delivery_proofs.passing_proofs(conn, tenant.id) if proof.evidence]
    if not proofs:
        raise Rejected("proof", "bundle", f"{tenant.name} has no passing proof of delivery")
    files: dict[str, bytes] = {}
    for place, proof in enumerate(proofs, start=1):
        folder = f"{place:03}-{proof.domain_name}-{proof.ip_address}-{proof.receiver.rpartition('@')[2]}"
        files |= {f"{folder}/{name}": content for name, content in parts_of(proof).items()}
    about = {
        "tenant": str(tenant.tenant_id),
        "name": tenant.name,
        "proofs": len(proofs),
        "newest": max(proof.received_at for proof in proofs).isoformat(),
    }
    manifest = manifest_of(about, files)
    return packed(manifest, asdict(signed(manifest, await signing_key(r))), files)


def parts_of(proof: StoredProof) -> Mapping[str, bytes]:
    """The files of one proof."""
    evidence = dict(proof.evidence)
    certificate = str(evidence.pop("certificate", ""))
    return {
        MESSAGE: bytes(proof.raw_message),
        EVIDENCE: as_bytes({**evidence, "receiver": proof.receiver, "read_at": proof.received_at.isoformat()}),
        VERDICTS: as_bytes(dict(proof.checks)),
        CERTIFICATE: certificate.encode(),
    }


async def signing_key(r: Resources) -> SecretStr:
    """The platform's key for bundles; made and sealed at the first one."""
    key = await vault.fetch(r, tenant_id=None, path=KEY_PATH)
    if key is not None:
        return key
    async with as_orchestrator(r.pool) as conn:
        await vault.store(r, conn, tenant_id=None, purpose="signing_key", path=KEY_PATH, secret=new_signing_key())
    return await vault.fetch_sure(r, tenant_id=None, path=KEY_PATH)


def examined(raw: bytes, known_key: str | None = None) -> Report:
    """Judge a bundle by itself. Spoiled when a part was changed, or another key than the known one signed it."""
    bundle = unpacked(raw)
    mark = Mark(str(bundle.signature.get("public_key", "")), str(bundle.signature.get("signature", "")))
    if not holds(bundle.manifest, mark):
        raise Spoiled("the signature is not this manifest's")
    name = fingerprint(mark.public_key)
    if known_key is not None and name != known_key:
        raise Spoiled(f"it is signed by {name}, and not by {known_key}")
    folders = sorted({path.partition("/")[0] for path in bundle.files})
    return Report(name, bundle.about, tuple(examined_path(bundle, folder) for folder in folders))


def examined_path(bundle: Bundle, folder: str) -> Examined:
    """One proof, every verdict found anew from message and DNS answers, and held against what was stored."""
    try:
        message, certificate = (bundle.files[f"{folder}/{name}"] for name in (MESSAGE, CERTIFICATE))
        evidence, stored = (json.loads(bundle.files[f"{folder}/{name}"]) for name in (EVIDENCE, VERDICTS))
        expectation = expectation_of(evidence["expected"])
        verdicts = judged_again(message, evidence, expectation)
        read_at = datetime.fromisoformat(evidence["read_at"])
        differing = [v.subject for v in verdicts if stored[v.subject]["truth"] != v.truth]
        host = judge_certificate(certificate, expectation, read_at)
    except (KeyError, TypeError, ValueError, Rejected) as error:
        raise Spoiled(f"{folder} cannot be read: {type(error).__name__} {error}") from error
    if differing:
        raise Spoiled(f"{folder}: judged again, {', '.join(differing)} is not what was stored")
    source = f"{expectation.domain} from {expectation.ip} ({expectation.helo})"
    sentence = f"{source} at {expectation.receiver_mx}, read {read_at:%Y-%m-%d %H:%M:%S} UTC"
    return Examined(folder, sentence, (*verdicts, host))


def judged_again(message: bytes, evidence: Mapping[str, Any], expectation: ProofExpectation) -> tuple[Verdict, ...]:
    """The verdicts of the day, from the answers of the day."""
    answers = {(same_form(a["name"]), a["type"]): a for a in evidence["answers"]}
    keys = {name: a["values"][0] for (name, rtype), a in answers.items() if rtype == "TXT" and a["values"]}
    signatures = tuple(
        VerifiedSignature(s.domain, s.selector, s.algorithm, s.valid) for s in verify_dkim(message, keys)
    )
    ptr, forward = (
        values_of(answers.get((same_form(name), rtype)))
        for name, rtype in ((expectation.ip.reverse_pointer, "PTR"), (expectation.helo, "A"))
    )
    return (*judge_delivery(message, expectation, signatures, ptr, forward), judge_placement(evidence["folder"]))


def expectation_of(said: Mapping[str, Any]) -> ProofExpectation:
    """What the message had to show."""
    return ProofExpectation(
        domain=said["domain"], ip=IPv4Address(said["ip"]), helo=said["helo"], authserv_id=said["authserv_id"],
        selectors=dict(said["selectors"]), nonce=said["nonce"], receiver_mx=said["receiver_mx"],
    )  # fmt: skip


def values_of(answer: Mapping[str, Any] | None) -> Sequence[str] | None:
    """What DNS said; None when it said nothing."""
    return list(answer["values"]) if answer and answer["outcome"] in {"found", "absent"} else None


def judge_certificate(pem: bytes, expectation: ProofExpectation, at: datetime) -> Verdict:
    """The host's certificate names the host that greeted, and held when the message was read."""
    if not pem:
        return Verdict("certificate", Truth.FAIL, "missing", expectation.helo, (), "no certificate was stored")
    facts = certificate_facts(pem)
    found = (*sorted(facts.names), f"until {facts.not_after:%Y-%m-%d}")
    right = same_form(expectation.helo) in map(same_form, facts.names) and facts.not_before <= at <= facts.not_after
    reason = "ok" if right else "another_certificate"
    fix = "" if right else f"expected one for {expectation.helo}, valid at {at:%Y-%m-%d}"
    return Verdict("certificate", Truth.PASS if right else Truth.FAIL, reason, expectation.helo, found, fix)
