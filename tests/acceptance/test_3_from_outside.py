"""What strangers and users may do to a finished server, tried from the control room over the wire."""

import json
import re
from urllib.parse import urlencode
from urllib.request import urlopen

import paramiko
import pytest

from flows.policy.presets import first_day, preset
from tests.support.world import RECEIVER, Lab, Tenant
from tests.support.world_mail import delivered, line_to, refusal, written

STRANGER = f"dave@{RECEIVER}"
FIRST_DAY = first_day(preset("warmup_ramp", "penguin-careful-40"))
CAPS = "/etc/penguin/caps.json"


@pytest.fixture(scope="session")
def logins(lab: Lab, acme: Tenant) -> dict[str, tuple[str, str]]:
    """Address and password of each mailbox, opened from the sealed store."""
    addresses = [f"{local}@{acme.domain}" for local in ("anna", "bert", "postmaster")]
    keys = [f"{acme.id}:mailbox/{address}" for address in addresses]
    ran = lab.python("tests.support.world_product", "secret", *keys)
    assert ran.code == 0, ran.said
    opened = json.loads(ran.out)
    return {address.partition("@")[0]: (address, opened[f"{acme.id}:mailbox/{address}"]) for address in addresses}


def provider_password(lab: Lab, tenant: Tenant) -> str:
    """The password the provider still shows for a server."""
    form = {"action": "get_instances", "API": lab.world.info["api_key"]}
    with lab.world.enter_control(), urlopen(lab.world.info["api_url"], urlencode(form).encode(), timeout=30) as reply:
        rows = json.load(reply)["success"]
    token = lab.instance_of(tenant)["instance_id"]
    return next(row["password"] for row in rows if row["srvrname"] == token)


def test_mail_for_a_foreign_domain_is_not_relayed(lab: Lab, acme: Tenant) -> None:
    with line_to(lab, acme) as line:
        assert refusal(line, STRANGER, f"carol@{RECEIVER}").startswith("554")
    with line_to(lab, acme) as line:
        assert refusal(line, f"anna@{acme.domain}", f"carol@{RECEIVER}").startswith(("550", "553", "554"))


def test_submission_without_a_login_is_refused(lab: Lab, acme: Tenant) -> None:
    with line_to(lab, acme, 587) as line:
        assert refusal(line, f"anna@{acme.domain}", STRANGER).startswith("5")


@pytest.mark.parametrize(
    ("envelope", "author"),
    [("bert@{}", "anna@{}"), ("anna@elsewhere.example", "anna@{}"), ("anna@{}", "anna@elsewhere.example")],
)
def test_a_mailbox_sends_as_itself_only(
    lab: Lab, acme: Tenant, logins: dict[str, tuple[str, str]], envelope: str, author: str
) -> None:
    message = written(author.format(acme.domain), STRANGER)
    with line_to(lab, acme, 587, logins["anna"]) as line:
        assert re.match("55[0-9] ", refusal(line, envelope.format(acme.domain), STRANGER, message))


def test_vrfy_tells_nothing(lab: Lab, acme: Tenant) -> None:
    with line_to(lab, acme) as line:
        assert line.verify(f"anna@{acme.domain}")[0] == 502


def test_an_unknown_recipient_is_refused_at_once(lab: Lab, acme: Tenant) -> None:
    with line_to(lab, acme) as line:
        assert refusal(line, STRANGER, f"nobody@{acme.domain}").startswith("550 5.1.1")


@pytest.mark.parametrize("role", ["postmaster", "abuse"])
def test_role_addresses_are_read_by_somebody(lab: Lab, acme: Tenant, role: str) -> None:
    recipient = f"{role}@{acme.domain}"
    with line_to(lab, acme) as line:
        assert refusal(line, STRANGER, recipient, written(STRANGER, recipient, f"To {role}")) == ""
    assert delivered(lab, acme, f"To {role}")


def test_root_gets_in_by_no_password_and_the_worker_is_never_banned(lab: Lab, acme: Tenant) -> None:
    password = provider_password(lab, acme)
    for guess in (password, *(f"guess-{number}" for number in range(6))):
        with lab.world.enter_control(), paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            with pytest.raises(paramiko.AuthenticationException):
                client.connect(
                    lab.instance_of(acme)["ip"], username="root", password=guess, look_for_keys=False,
                    allow_agent=False, banner_timeout=60, auth_timeout=60,
                )  # fmt: skip
    ran = lab.python("tests.support.world_product", "converge", acme.uuid)
    assert (ran.code, ran.out) == (0, "[]"), ran.said
    assert "203.0.113.10" not in lab.on_host(acme, "fail2ban-client status sshd")


def test_nothing_but_mail_and_ssh_answers(lab: Lab, acme: Tenant) -> None:
    listening = lab.on_host(
        acme, "ss -Hltn | awk '{print $4}' | grep -v '^127\\|^\\[::1\\]' | sed 's/.*://' | sort -un"
    )
    assert set(listening.split()) <= {"22", "25", "465", "587", "993"}


def test_a_mailbox_has_its_first_day_and_no_message_more(
    lab: Lab, acme: Tenant, logins: dict[str, tuple[str, str]]
) -> None:
    sender = logins["bert"][0]
    with line_to(lab, acme, 587, logins["bert"]) as line:
        for _ in range(FIRST_DAY):
            assert refusal(line, sender, STRANGER) == ""
        assert refusal(line, sender, STRANGER).startswith("450 4.7.1")


def test_a_host_without_its_caps_sends_nothing(lab: Lab, acme: Tenant, logins: dict[str, tuple[str, str]]) -> None:
    lab.on_host(acme, f"mv {CAPS} {CAPS}.away")
    try:
        with line_to(lab, acme, 587, logins["anna"]) as line:
            assert refusal(line, logins["anna"][0], STRANGER).startswith("450 4.7.1")
    finally:
        lab.on_host(acme, f"mv {CAPS}.away {CAPS}")
    with line_to(lab, acme, 587, logins["anna"]) as line:
        assert refusal(line, logins["anna"][0], STRANGER) == ""
