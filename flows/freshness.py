"""How long a proof of delivery holds."""

from datetime import UTC, datetime, timedelta

from flows.policy.verdict import Truth
from flows.resources import Resources
from sql.delivery_proofs import Proof


def is_fresh(r: Resources, proof: Proof) -> bool:
    """Passed, and young enough to rest on."""
    age = timedelta(hours=r.settings.mail.proof_max_age_hours)
    return proof.verdict == Truth.PASS and proof.received_at is not None and proof.received_at > datetime.now(UTC) - age
