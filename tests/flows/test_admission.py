"""What may not be ordered ends here: one sentence, a truthful row, and nothing bought."""

from typing import Any
from uuid import uuid4

import pytest

from flows.onboard import onboard_tenant
from tests.support.product import PLAN, Product


async def test_an_unknown_tenant_has_no_run_and_one_sentence(product: Product) -> None:
    stranger = uuid4()
    state = await onboard_tenant(stranger, return_state=True)
    assert (state.name, state.type) == ("Rejected", "FAILED")
    assert str(stranger) in str(state.message)
    assert product.rows("SELECT 1 FROM provisioning_runs") == []
    assert product.hostwinds.orders() == 0


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in PLAN.items() if name != key}


LONG = "a" * 64
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no subscription", {"subscription": None}, "no active subscription (it is missing)"),
    ("cancelled", {"subscription": "cancelled"}, "no active subscription (it is cancelled)"),
    ("expired", {"ends_in": "-1 minute"}, "subscription"),
    ("tenant suspended", {"status": "suspended"}, "the tenant is suspended, not active"),
    ("no domain", {"domains": [], "mailboxes": []}, "the tenant has no domain"),
    ("servers", {"limits": PLAN | {"servers": 0}}, "allows 0 servers, 1 are wanted"),
    ("ips", {"settings": {"infrastructure": {"ips": 3}}}, "allows 2 ips, 3 are wanted"),
    ("domains", {"limits": PLAN | {"domains": 0}}, "allows 0 domains, 1 are wanted"),
    (
        "mailboxes",
        {"limits": PLAN | {"mailboxes": 1}, "mailboxes": ["a@acme.example", "b@acme.example"]},
        "allows 1 mailboxes, 2 are wanted",
    ),
    *((f"missing {key}", {"limits": without(key)}, f"does not say how many {key}") for key in PLAN),
    ("odd limit", {"limits": PLAN | {"ips": "many"}}, "limit of ips is no whole number"),
    ("no host name", {"domains": ["acme_corp.example"], "mailboxes": []}, "acme_corp.example"),
    ("no dot", {"domains": ["localhost"], "mailboxes": []}, "'localhost' is not a full domain name"),
    ("an address", {"domains": ["192.0.2.7"], "mailboxes": []}, "'192.0.2.7' is an address"),
    ("long label", {"domains": [f"{LONG}.example"], "mailboxes": []}, "1 to 63 letters"),
    ("empty label", {"domains": ["acme..example"], "mailboxes": []}, "empty label"),
    ("ambiguous", {"domains": ["faß.example"], "mailboxes": []}, "faß.example"),
    ("outside", {"mailboxes": ["anna@beta.example"]}, "anna@beta.example is outside the tenant's domains"),
    ("subdomain", {"mailboxes": ["anna@sub.acme.example"]}, "is outside the tenant's domains"),
    ("bad mailbox", {"mailboxes": ["anna..b@acme.example"]}, "part before the @"),
    ("no name of a host's mailbox", {"mailboxes": ["an!na@acme.example"]}, "an!na@acme.example: a mailbox name holds"),
    ("ours", {"mailboxes": ["postmaster@acme.example"]}, "postmaster@acme.example is ours"),
    ("no address", {"mailboxes": ["anna"]}, "has no @"),
    ("odd settings", {"settings": {"infrastructure": {"ips": 0}}}, "tenants.settings.infrastructure"),
    ("odd region", {"settings": {"infrastructure": {"region": "a b"}}}, "tenants.settings.infrastructure"),
    ("no canary", {"settings": {"infrastructure": {"canary": False}}}, "nothing goes live without its proof"),
    ("settings of no shape", {"settings": {"infrastructure": [1]}}, "tenants.settings.infrastructure"),
]


@pytest.mark.parametrize(("_what", "order", "words"), REFUSED, ids=[name for name, _, _ in REFUSED])
async def test_what_may_not_be_ordered_is_refused_in_one_sentence(
    product: Product, _what: str, order: dict[str, Any], words: str
) -> None:
    customer = product.sign_up(**order)
    state = await product.onboard(customer)
    run = product.run_of(customer)
    assert (state.name, run["status"]) == ("Rejected", "rejected")
    assert words in run["last_error_message"]
    assert "\n" not in run["last_error_message"]
    assert state.message == run["last_error_message"]
    assert product.steps_of(customer) == {"admit": "failed"}
    assert product.orders_of(customer) == product.rows("SELECT 1 FROM vps_instances") == []
    assert product.hostwinds.admin.calls() == []


async def test_every_reason_is_given_at_once(product: Product) -> None:
    customer = product.sign_up(subscription="cancelled", limits=PLAN | {"domains": 0}, mailboxes=["a@other.example"])
    await product.onboard(customer)
    sentence = product.run_of(customer)["last_error_message"]
    assert all(part in sentence for part in ("cancelled", "allows 0 domains", "a@other.example"))


async def test_a_changed_order_is_admitted_by_the_next_run(product: Product) -> None:
    customer = product.sign_up(limits=PLAN | {"servers": 0})
    await product.onboard(customer)
    product.rows("UPDATE plans SET limits = limits || '{\"servers\": 1}'")
    state = await product.onboard(customer)
    assert state.name == "Waiting for provider"
    statuses = product.rows(
        "SELECT status FROM provisioning_runs WHERE tenant_id = %s ORDER BY created_at", customer.pk
    )
    assert [row["status"] for row in statuses] == ["rejected", "waiting"]
    assert product.hostwinds.bought() == 1


@pytest.mark.parametrize("limits", [dict.fromkeys(PLAN, -1), dict.fromkeys(PLAN), PLAN], ids=["-1", "null", "enough"])
async def test_minus_one_and_null_are_without_limit(product: Product, limits: dict[str, Any]) -> None:
    await product.onboard(product.sign_up(limits=limits))
    assert product.hostwinds.bought() == 1


@pytest.mark.parametrize("subscription", ["active", "trialing"])
async def test_who_pays_or_tries_is_admitted_and_an_open_end_is_no_end(product: Product, subscription: str) -> None:
    await product.onboard(product.sign_up(subscription=subscription, ends_in=None))
    assert product.hostwinds.bought() == 1


async def test_an_internationalised_name_is_stored_as_its_a_label(product: Product) -> None:
    customer = product.sign_up(domains=["bücher.example"], mailboxes=["anna@bücher.example"])
    await product.onboard(customer)
    (domain,) = product.rows("SELECT * FROM domains")
    (box,) = product.rows("SELECT * FROM email_accounts")
    assert domain["domain_name"] == "xn--bcher-kva.example"
    assert (box["email_address"], box["domain_id"]) == ("anna@xn--bcher-kva.example", domain["id"])
    assert product.steps_of(customer)["admit"] == "succeeded"


async def test_a_domain_that_another_tenant_has_verified_is_refused_without_saying_who(product: Product) -> None:
    product.sign_up("owner", domains=["acme.example"])
    product.rows("UPDATE domains SET verification_status = 'verified', verified_at = now()")
    taker = product.sign_up("taker", domains=["acme.example."], mailboxes=[])
    await product.onboard(taker)
    sentence = product.run_of(taker)["last_error_message"]
    assert "acme.example is verified by another tenant" in sentence
    assert "owner" not in sentence
    assert product.hostwinds.orders() == 0


async def test_a_domain_that_another_tenant_merely_claims_does_not_stand_in_the_way(product: Product) -> None:
    product.sign_up("squatter", domains=["acme.example"])
    await product.onboard(product.sign_up("owner", domains=["acme.example"], mailboxes=[]))
    assert product.hostwinds.bought() == 1


@pytest.mark.parametrize("setting", ["HOSTWINDS__TEMPLATE", "HOSTWINDS__ENVIRONMENT", "HOSTWINDS__API_KEY"])
async def test_without_a_setting_nothing_is_ordered_and_an_operator_is_told_its_name_in_the_environment(
    product: Product, setting: str
) -> None:
    good = product.settings[name := f"PENGUINMAILS_{setting}"]
    product.configure(**{setting: ""})
    customer = product.sign_up()
    state = await product.onboard(customer)
    assert state.name == "Waiting for operator"
    told = product.run_of(customer)
    assert name in told["wait_detail"]
    assert told["wait_detail"].endswith(f"python -m flows retry {told['id']}")
    assert product.hostwinds.admin.calls() == []
    product.configure(**{setting: good})
    await product.onboard(customer)
    assert product.hostwinds.bought() == 1
