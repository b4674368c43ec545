"""The mail host as a wish: what each daemon is told, and what is refused before any host hears of it."""

import json
import re
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from flows.policy.convergence import Component, Facts, apply_script, facts_script, plan
from flows.policy.host_files.gate import LISTEN_FDS
from flows.policy.mail_host import (
    DailyCaps,
    DkimSigner,
    HostMailbox,
    MailDomain,
    MailHost,
    SendingAddress,
    Upstream,
    csr_script,
    desired,
)
from tests.support.hosts_as_wished import facts_as_wished

HASH = "{SHA512-CRYPT}$6$CANARYsalt$CANARYhash"
PEM = "-----BEGIN PRIVATE KEY-----\nCANARYkey\n-----END PRIVATE KEY-----\n"
ONE = SendingAddress(IPv4Address("198.51.100.50"), "mail.acme.example", "smtp-ip1")
TWO = SendingAddress(IPv4Address("198.51.100.51"), "mail2.beta.example", "smtp-ip2")
ACME = MailDomain(
    "acme.example", "smtp-ip1", (DkimSigner("pm202611r", "rsa", PEM), DkimSigner("pm202611e", "ed25519", PEM))
)
BETA = MailDomain("beta.example", "smtp-ip2", (DkimSigner("pm202611r", "rsa", PEM, signs=False),))
ANNA = HostMailbox("anna@acme.example", HASH, 1024, "acme.example")
POST = HostMailbox("postmaster@acme.example", HASH, 256, "acme.example")
BOB = HostMailbox("bob@beta.example", HASH, 512, "beta.example")
HOST = MailHost("mail.acme.example", (ONE, TWO), (ACME, BETA), (ANNA, POST, BOB), first_day_cap=5)


def content(path: str, host: MailHost = HOST) -> str:
    return next(file.content.decode() for file in desired(host).files if file.path == path)


def table(name: str, host: MailHost = HOST) -> dict[str, str]:
    lines = content(f"/etc/postfix/penguin/{name}", host).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def component(name: str, host: MailHost = HOST) -> Component:
    return next(part for part in desired(host).components if part.name == name)


def test_the_second_plan_is_empty() -> None:
    assert plan(desired(HOST), facts_as_wished(desired(HOST))) == ()


def test_postfix_is_never_without_a_configuration_nor_kept_waiting_by_a_young_one() -> None:
    install = plan(desired(HOST), Facts(state="running"))[0].script
    assert install.index("/etc/postfix/main.cf") < install.index("packages postfix")
    aged, _, validated = component("postfix").check.partition(" && ")
    assert aged == "touch -d '3 seconds ago' /etc/postfix/main.cf /etc/postfix/penguin/*"
    assert validated.startswith("postfix check")


def test_no_hole_of_a_template_is_left_open() -> None:
    for file in desired(HOST).files:
        assert not re.search(r"@[A-Z_]{2,}@", file.content.decode()), file.path


def test_no_secret_is_in_a_script_a_summary_or_a_repr() -> None:
    changes = plan(desired(HOST), Facts(state="running"))
    script, payload = apply_script(changes)
    told = [script, facts_script(desired(HOST)), repr(HOST), repr(desired(HOST)), *(c.summary for c in changes)]
    assert all("CANARY" not in text for text in told)
    assert b"CANARYhash" in payload
    assert b"CANARYkey" in payload


def test_secrets_are_readable_by_their_daemon_alone() -> None:
    secret = {file.path: (file.mode, file.owner) for file in desired(HOST).files if b"CANARY" in file.content}
    users = secret.pop("/etc/dovecot/penguin-users")
    assert users == ("640", "root:dovecot")
    assert len(secret) == 3
    assert set(secret.values()) == {("600", "opendkim:opendkim")}


# --- who may send, and by which address -----------------------------------------------------------------------------


def test_each_address_has_a_transport_with_its_own_source_and_greeting() -> None:
    master = content("/etc/postfix/master.cf")
    for address in (ONE, TWO):
        block = master[master.index(f"\n{address.transport} unix") :].split("\n\n")[0].splitlines()[1:5]
        assert f"  -o smtp_bind_address={address.ip}" in block
        assert f"  -o smtp_helo_name={address.helo}" in block


def test_a_domain_and_its_return_paths_leave_by_one_address() -> None:
    assert table("transports") == {
        "@acme.example": "smtp-ip1:",
        "@bounce.acme.example": "smtp-ip1:",
        "@beta.example": "smtp-ip2:",
        "@bounce.beta.example": "smtp-ip2:",
    }


def test_null_sender_mail_leaves_by_the_hosts_own_address() -> None:
    assert "\ndefault_transport = smtp-ip1\n" in content("/etc/postfix/main.cf")


def test_a_mailbox_owns_its_own_address_and_the_return_paths_of_its_domain() -> None:
    logins = table("logins")
    assert logins["anna@acme.example"] == "anna@acme.example"
    assert logins["b@bounce.acme.example"].split(",") == ["anna@acme.example", "postmaster@acme.example"]
    assert logins["b@bounce.beta.example"] == "bob@beta.example"
    assert "abuse@acme.example" not in logins


def test_an_own_sender_is_refused_where_nobody_logs_in() -> None:
    assert table("own_senders").keys() == table("logins").keys()
    assert all(action.startswith("REJECT ") for action in table("own_senders").values())


def test_nothing_is_relayed_but_for_those_who_logged_in() -> None:
    main = content("/etc/postfix/main.cf")
    assert "\nsmtpd_relay_restrictions = reject_unauth_destination\n" in main
    assert "\nmynetworks = 127.0.0.0/8\n" in main
    assert "\nsmtpd_sasl_auth_enable = no\n" in main
    assert "permit_mynetworks" not in main
    assert "\ndisable_vrfy_command = yes\n" in main


def test_both_submission_ports_carry_every_guard() -> None:
    master = content("/etc/postfix/master.cf")
    for guard in (
        "-o smtpd_sasl_auth_enable=yes",
        "-o smtpd_relay_restrictions=permit_sasl_authenticated,reject",
        "-o smtpd_sender_restrictions=$submission_sender_restrictions",
        "-o smtpd_data_restrictions=$submission_data_restrictions",
        "-o cleanup_service_name=submission-cleanup",
    ):
        assert master.count(guard) == 2
    assert "-o smtpd_tls_security_level=encrypt" in master
    assert "-o smtpd_tls_wrappermode=yes" in master


def test_a_dead_keeper_of_caps_stops_submission() -> None:
    main = content("/etc/postfix/main.cf")
    assert "check_policy_service { unix:private/penguin-caps, default_action=DEFER" in main


def test_no_protocol_below_tls_1_2_is_spoken() -> None:
    main = content("/etc/postfix/main.cf")
    for direction in ("smtpd_tls", "smtp_tls"):
        for kind in ("protocols", "mandatory_protocols"):
            assert f"\n{direction}_{kind} = >=TLSv1.2\n" in main
    assert "ssl_min_protocol = TLSv1.2" in content("/etc/dovecot/dovecot.conf")


def test_the_gate_is_asked_before_anything_is_signed_and_its_absence_stops_submission() -> None:
    main = content("/etc/postfix/main.cf")
    assert "\nsubmission_milters = unix:private/penguin-submission, inet:127.0.0.1:8891, inet:127.0.0.1:8892\n" in main
    assert "\nmilter_default_action = tempfail\n" in main


def test_a_bounce_comes_in_though_the_gate_is_dead() -> None:
    assert "\nsmtpd_milters = { unix:private/penguin-arrival, default_action=accept }\n" in content(
        "/etc/postfix/main.cf"
    )


def test_the_doors_are_in_the_order_in_which_the_gate_takes_them() -> None:
    doors = re.findall("ListenStream=.*/penguin-(.*)", content("/etc/systemd/system/penguin-gate.socket"))
    assert {door: 3 + place for place, door in enumerate(doors)} == dict(LISTEN_FDS)


def test_keys_of_return_paths_lie_there_by_domain_for_the_gate_alone() -> None:
    keyed = replace(HOST, domains=(replace(ACME, return_path_keys=("CANARY1", "CANARY2")), BETA))
    (file,) = component("return-paths", keyed).files
    assert json.loads(file.content) == {"acme.example": ["CANARY1", "CANARY2"], "beta.example": []}
    assert (file.mode, file.owner) == ("640", "root:penguin-gate")
    assert "CANARY" not in repr(keyed)


def test_headers_of_an_enclosed_message_are_left_alone() -> None:
    master = content("/etc/postfix/master.cf")
    block = master[master.index("\nsubmission-cleanup ") :].split("\nqmgr")[0]
    assert "-o mime_header_checks=\n" in block
    assert "-o nested_header_checks=" in block


def test_where_a_tenant_sits_is_cut_out_of_what_leaves() -> None:
    received = (
        "Received: from [10.0.0.7] (unknown [203.0.113.10])\n\t(using TLSv1.3)\n\tby mail.acme.example (Postfix) "
        "with ESMTPSA id 366E\n\tfor <x@y.example>; Sun, 22 Nov 2026"
    )
    assert first_action(received) == "IGNORE"
    assert first_action(received.replace("ESMTPSA", "ESMTPS")) is None


def first_action(header: str) -> str | None:
    """What Postfix does with a header: PCRE tables match without case, and a dot matches a line break."""
    for line in content("/etc/postfix/penguin/header_checks").splitlines():
        if line.startswith("/"):
            pattern, _, action = line[1:].rpartition("/ ")
            if re.search(pattern, header, re.IGNORECASE | re.DOTALL):
                return action.split(" ")[0]
    return None


# --- who receives ---------------------------------------------------------------------------------------------------


def test_postmaster_and_abuse_are_delivered_on_every_domain() -> None:
    reached = {**table("mailboxes"), **table("aliases")}
    for domain in ("acme.example", "beta.example", "bounce.acme.example", "bounce.beta.example", "mail.acme.example"):
        for role in ("postmaster", "abuse"):
            assert f"{role}@{domain}" in reached


def test_a_role_that_is_a_mailbox_is_not_sent_elsewhere() -> None:
    assert "postmaster@acme.example" not in table("aliases")


def test_every_alias_ends_in_a_mailbox_that_exists() -> None:
    assert set(table("aliases").values()) <= set(table("mailboxes"))


def test_roles_go_where_the_wish_says() -> None:
    host = replace(HOST, role_recipient="anna@acme.example")
    assert table("aliases", host)["abuse@beta.example"] == "anna@acme.example"


def test_bounces_reach_the_feedback_mailbox() -> None:
    assert table("aliases")["b@bounce.acme.example"] == "feedback@mail.acme.example"


def test_the_feedback_mailbox_takes_mail_though_nobody_can_log_in() -> None:
    users = dict(line.split(":", 1) for line in content("/etc/dovecot/penguin-users").splitlines())
    assert users["feedback@mail.acme.example"].startswith("{SHA512-CRYPT}*:")


def test_a_feedback_mailbox_with_a_password_is_taken_as_given() -> None:
    feedback = HostMailbox("feedback@mail.acme.example", HASH, 100, "mail.acme.example")
    users = content("/etc/dovecot/penguin-users", replace(HOST, mailboxes=(ANNA, feedback)))
    assert users.count("feedback@mail.acme.example:") == 1
    assert f"feedback@mail.acme.example:{HASH}:" in users


def test_a_mailbox_has_its_hash_and_its_quota() -> None:
    users = content("/etc/dovecot/penguin-users").splitlines()
    assert f"anna@acme.example:{HASH}::::::userdb_quota_rule=*:storage=1024M" in users


def test_a_change_of_mailboxes_ends_in_another_second_than_it_was_written_in(tmp_path: Path) -> None:
    """Run as on a host whose Dovecot is active: the change began somewhere in a second, and ends in a later one."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "systemctl").chmod(0o755)
    began = time.time()
    subprocess.run(
        ["/bin/sh", "-c", component("mailboxes").settle],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        timeout=10,
    )
    assert int(time.time()) > int(began)


@pytest.mark.parametrize("password", ["plain", "{PLAIN}a:b", "{SHA512-CRYPT}x\nroot:{PLAIN}y", ""])
def test_a_password_that_is_no_hash_never_reaches_a_host(password: str) -> None:
    host = replace(HOST, mailboxes=(replace(ANNA, password_hash=password),))
    with pytest.raises(ValueError, match="no hash") as refusal:
        desired(host)
    assert password not in str(refusal.value) or not password


# --- signing --------------------------------------------------------------------------------------------------------


def test_each_algorithm_has_its_own_signer_and_tables() -> None:
    assert content("/etc/penguin/dkim-senders-rsa") == "*@acme.example pm202611r._domainkey.acme.example\n"
    assert content("/etc/penguin/dkim-senders-ed25519") == "*@acme.example pm202611e._domainkey.acme.example\n"
    assert "SignatureAlgorithm ed25519-sha256" in content("/etc/penguin/opendkim-ed25519.conf")
    assert "SignatureAlgorithm rsa-sha256" in content("/etc/penguin/opendkim-rsa.conf")


def test_a_key_whose_record_was_not_seen_lies_on_the_host_and_does_not_sign() -> None:
    assert content("/etc/penguin/dkim/beta.example/pm202611r.pem") == PEM
    assert "beta.example" not in content("/etc/penguin/dkim-keys-rsa")


def test_every_key_is_read_before_the_signers_see_the_tables() -> None:
    for name in ("acme.example/pm202611r", "acme.example/pm202611e", "beta.example/pm202611r"):
        assert f"openssl pkey -noout -in /etc/penguin/dkim/{name}.pem" in component("opendkim").check


def test_the_author_is_signed_twice_over_so_that_none_can_be_added() -> None:
    for kind in ("rsa", "ed25519"):
        settings = content(f"/etc/penguin/opendkim-{kind}.conf")
        assert "OversignHeaders From" in settings
        assert "Canonicalization relaxed/relaxed" in settings
        assert "List-Unsubscribe-Post" in settings
        assert "Nameservers 127.0.0.1" in settings


@pytest.mark.parametrize(("domain", "selector"), [("../etc", "s1"), ("acme.example", "../s1"), ("acme.example", "s 1")])
def test_a_name_that_leads_elsewhere_is_refused(domain: str, selector: str) -> None:
    odd = MailDomain(domain, "smtp-ip1", (DkimSigner(selector, "rsa", PEM),))
    with pytest.raises(ValueError, match="not a"):
        desired(replace(HOST, domains=(odd,), mailboxes=(), addresses=(ONE,)))


# --- names, resolver, certificate -----------------------------------------------------------------------------------


def test_the_main_address_heads_the_list_and_further_ones_follow() -> None:
    assert content("/etc/penguin/addresses") == "198.51.100.50\n198.51.100.51\n"


def test_a_resolver_without_forwarders_walks_from_the_roots_and_validates() -> None:
    settings = content("/etc/unbound/unbound.conf")
    assert 'module-config: "validator iterator"' in settings
    assert "forward-zone" not in settings
    assert "dns-root-data" in desired(HOST).packages
    assert "\nsmtp_tls_security_level = dane\n" in content("/etc/postfix/main.cf")


def test_forwarders_are_asked_where_there_are_some_and_dane_is_off() -> None:
    host = replace(HOST, resolver=Upstream((IPv4Address("203.0.113.53"),)))
    settings = content("/etc/unbound/unbound.conf", host)
    assert "forward-addr: 203.0.113.53" in settings
    assert "validator" not in settings
    assert "\nsmtp_tls_security_level = may\n" in content("/etc/postfix/main.cf", host)


def test_the_resolver_runs_before_the_host_depends_on_it() -> None:
    names = [part.name for part in desired(HOST).components]
    assert names.index("resolver") < names.index("resolver-in-use")


def test_the_hosts_own_stand_in_is_made_only_while_there_is_no_certificate() -> None:
    def conditions(host: MailHost) -> set[str]:
        return {condition.key for condition in component("certificate", host).before}

    assert conditions(HOST) == {"key", "certificate"}
    given = replace(HOST, certificate_pem="-----BEGIN CERTIFICATE-----\n")
    assert conditions(given) == {"key"}
    assert content("/etc/ssl/penguin/mail.crt", given) == "-----BEGIN CERTIFICATE-----\n"


def test_a_request_names_every_host_and_never_prints_the_key() -> None:
    script = csr_script(("mail.acme.example", "mail2.beta.example"))
    assert "subjectAltName=DNS:mail.acme.example,DNS:mail2.beta.example" in script
    assert "cat " not in script


@pytest.mark.parametrize("name", ["", "a b", "a;id", "-x.example", "$(id).example", "A.example"])
def test_a_request_for_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        csr_script((name,))


# --- caps -----------------------------------------------------------------------------------------------------------


def test_before_a_plan_every_mailbox_has_the_first_days_figure() -> None:
    caps = json.loads(content("/etc/penguin/caps.json"))
    assert (caps["first_day"], caps["canary_cap"], caps["users"], caps["valid_until"]) == (5, 20, {}, None)
    assert caps["canaries"] == ["postmaster@acme.example", "postmaster@beta.example"]
    assert caps["address_of"] == {"acme.example": "198.51.100.50", "beta.example": "198.51.100.51"}


def test_a_plan_reaches_the_keeper_whole() -> None:
    until = datetime(2026, 11, 24, tzinfo=UTC)
    plan_of_day = DailyCaps(until, {"anna@acme.example": 12}, {ONE.ip: 50})
    caps = json.loads(content("/etc/penguin/caps.json", replace(HOST, caps=plan_of_day)))
    assert caps["users"] == {"anna@acme.example": 12}
    assert caps["addresses"] == {"198.51.100.50": 50}
    assert datetime.fromisoformat(caps["valid_until"]) == until


# --- wishes that contradict themselves ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"addresses": ()}, "at least the address"),
        ({"addresses": (ONE, replace(TWO, transport="smtp-ip1"))}, "transport of its own"),
        ({"addresses": (ONE,)}, "no address has"),
        ({"mailboxes": (HostMailbox("x@other.example", HASH, 1, "other.example"),)}, "outside the domains"),
        ({"mailboxes": (HostMailbox("anna@acme.example", HASH, 1, "beta.example"),)}, "outside the domains"),
        ({"mailboxes": (HostMailbox("a x\nb@acme.example", HASH, 1, "acme.example"),)}, "called"),
        ({"mailboxes": (HostMailbox("#a@acme.example", HASH, 1, "acme.example"),)}, "called"),
        ({"mailboxes": (HostMailbox("Anna@acme.example", HASH, 1, "acme.example"),)}, "called"),
        ({"mailboxes": (HostMailbox("a+b@acme.example", HASH, 1, "acme.example"),)}, "called"),
        ({"hostname": "mail.acme.example\nx"}, "host name"),
        ({"addresses": (ONE, replace(TWO, helo="a b"))}, "host name"),
    ],
)
def test_a_wish_that_contradicts_itself_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(HOST, **changes)


def test_a_transport_has_a_name_that_no_setting_can_hide_in() -> None:
    odd = replace(ONE, transport="smtp-ip1 unix - - n")
    with pytest.raises(ValueError, match="smtp-ip"):
        desired(MailHost("mail.acme.example", (odd,), (), (), first_day_cap=5))
