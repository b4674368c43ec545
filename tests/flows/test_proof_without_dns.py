"""A canary that is there while DNS keeps silent: nothing is known of it, so it is looked at again and not replaced."""

from collections.abc import AsyncIterator

import pytest

from flows.onboarding.canary import Path
from flows.onboarding.plans import Estate, estate_of
from flows.onboarding.proof import begun_proof, judge_arrived
from flows.outcomes import Waiting
from flows.resources import Resources, resources
from providers.mail import Found
from sql import delivery_proofs
from sql.delivery_proofs import Proof
from sql.provisioning import Run
from sql.session import as_orchestrator
from tests.support.dns_zone import Internet, internet, quoted
from tests.support.furnished import furnished
from tests.support.product import Product
from tests.support.proof_message import KEYS, NONCE, message

DOMAIN = "acme.example"


@pytest.fixture
async def dns() -> AsyncIterator[Internet]:
    """The tenant's zone with both keys."""
    async with internet(DOMAIN) as made:
        for selector, key in KEYS.items():
            text = quoted(f"v=DKIM1; k={key.algorithm}; p={key.public_b64}")
            made.recursive.records += f"{selector}._domainkey.{DOMAIN}. 300 TXT {text}\n"
        yield made


@pytest.fixture
async def run(product: Product) -> Run:
    """A run whose canary arrived."""
    customer = product.sign_up()
    run = await furnished(customer)
    for selector, key in KEYS.items():
        product.rows(
            "UPDATE dkim_keys SET selector = %s, status = 'active' WHERE algorithm = %s", selector,
            f"{key.algorithm}-sha256",
        )  # fmt: skip
    async with resources() as r:
        path = path_of(r, await estate_of(r, run))
        async with as_orchestrator(r.pool) as conn:
            proof = await delivery_proofs.intend_proof(
                conn, tenant_id=run.tenant_id, run_id=run.id, domain_id=path.domain.id, receiver=path.receiver.address,
                smtp_ip_address_id=path.address.id, nonce=NONCE, message_id=f"<{NONCE}@{DOMAIN}>",
            )  # fmt: skip
            await delivery_proofs.note_sent(conn, proof.id)
    return run


def path_of(r: Resources, estate: Estate) -> Path:
    """The one way of the tenant's mail, to the receiver that wrote the message's headers."""
    names = {"authserv_id": "mx.bigmail.example", "mx": "mx.bigmail.example"}
    (domain,) = estate.domains
    return Path(domain, estate.sends_from[domain.id], r.settings.mail.proof_receivers[0].model_copy(update=names))


async def judged(product: Product, run: Run, port: int, raw: bytes) -> Waiting | None:
    """One look of the run at its canary, of which there is no second one."""
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), DNS__TIMEOUT_SECONDS="1")
    async with resources() as r:
        estate = await estate_of(r, run)
        path = path_of(r, estate)
        proof = await begun_proof(r, run, estate, path)
        assert isinstance(proof, Proof)
        assert proof.nonce == NONCE
        return await judge_arrived(r, run, estate, path, proof, Found(raw, "INBOX", None))


def verdict(product: Product) -> str:
    (row,) = product.rows("SELECT verdict FROM delivery_proofs")
    return row["verdict"]


async def test_dns_that_keeps_silent_is_waited_for_with_the_same_message(
    product: Product, run: Run, dns: Internet
) -> None:
    for _ in range(2):
        waiting = await judged(product, run, 1, message())
        assert waiting is not None
        assert (waiting.reason, bool(waiting.look_again_in)) == ("provider", True)
        assert "DNS did not answer for signature-rsa, signature-ed25519, fcrdns" in waiting.detail
        assert verdict(product) == "unknown"
    assert await judged(product, run, dns.port, message()) is None
    assert verdict(product) == "pass"


async def test_a_key_that_is_not_there_is_a_failure(product: Product, run: Run, dns: Internet) -> None:
    dns.recursive.records = dns.recursive.records.replace("e1._domainkey", "elsewhere._domainkey")
    waiting = await judged(product, run, dns.port, message())
    assert waiting is not None
    assert (waiting.reason, waiting.look_again_in) == ("operator", None)
    assert "signature-ed25519" in waiting.detail
    assert verdict(product) == "fail"


async def test_a_message_that_will_never_say_more_is_a_persons_and_the_next_try_sends_another(
    product: Product, run: Run, dns: Internet
) -> None:
    undecided = message().replace(b"spf=pass", b"spf=temperror")
    waiting = await judged(product, run, 1, undecided)
    assert waiting is not None
    assert (waiting.reason, verdict(product)) == ("operator", "unknown")
    product.configure(MAIL__CANARIES_PER_DAY="1")  # so that it is not sent here
    async with resources() as r:
        estate = await estate_of(r, run)
        waiting = await begun_proof(r, run, estate, path_of(r, estate))
    assert isinstance(waiting, Waiting)
    assert "was tried 1 times" in waiting.detail
