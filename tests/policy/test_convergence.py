import io
import tarfile
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.convergence import (
    Applied,
    Component,
    Condition,
    Desired,
    Facts,
    File,
    FileFact,
    IncompleteFacts,
    Refused,
    Unit,
    UnitFact,
    apply_script,
    confirm_script,
    facts_script,
    needs_confirmation,
    parse_facts,
    parse_outcome,
    plan,
)
from tests.support.hosts_as_wished import facts_as_wished

SECRET = "CANARY-hash-of-a-password"
USERS = File("/etc/dovecot/users", SECRET.encode(), mode="640", owner="root:dovecot")
MAIN = File("/etc/postfix/main.cf", b"inet_protocols = ipv4\n")
BIG = File("/etc/postfix/master.cf", b"smtp\n", restart=True)
MAIL = Component(
    "mail",
    files=(USERS, MAIN, BIG),
    before=(Condition("account", "getent passwd vmail", "useradd vmail"),),
    after=(Condition("answers", "true", "false"),),
    gone=("/etc/old.conf",),
    units=(Unit("postfix", probe="postfix@-"), Unit("opendkim", enabled=False, active=False)),
    ports=("0.0.0.0:25",),
    check="postfix check",
    settle="postfix reload",
)
DOOR = Component("door", files=(File("/etc/nftables.conf", b"table\n"),), units=(Unit("nftables"),), armed=True)
WISH = Desired(packages=("postfix", "nftables"), components=(DOOR, MAIL), debconf=("postfix postfix/type select None",))
AS_WISHED = facts_as_wished(WISH)


def with_file(path: str, **changes: str) -> Facts:
    return replace(AS_WISHED, files=dict(AS_WISHED.files) | {path: replace(AS_WISHED.files[path], **changes)})


def with_unit(name: str, fact: UnitFact) -> Facts:
    return replace(AS_WISHED, units=dict(AS_WISHED.units) | {name: fact})


def test_a_host_that_is_as_wished_hears_nothing() -> None:
    assert plan(WISH, AS_WISHED) == ()


def test_a_bare_host_gets_everything_in_the_order_of_the_wish() -> None:
    summaries = [change.summary for change in plan(WISH, Facts(state="running"))]
    assert [summary.split(":")[0] for summary in summaries] == ["packages", "door", "mail"]


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        (with_file(MAIN.path, sha256="0" * 64), MAIN.path),
        (with_file(USERS.path, mode="644"), USERS.path),
        (with_file(USERS.path, owner="root:root"), USERS.path),
        (with_file(MAIN.path, kind="symbolic link"), MAIN.path),
        (replace(AS_WISHED, files={p: f for p, f in AS_WISHED.files.items() if p != MAIN.path}), MAIN.path),
        (replace(AS_WISHED, present=frozenset({"/etc/old.conf"})), "/etc/old.conf"),
        (replace(AS_WISHED, holds=AS_WISHED.holds - {"mail/account"}), "account"),
        (replace(AS_WISHED, holds=AS_WISHED.holds - {"mail/answers"}), "answers"),
        (replace(AS_WISHED, listening=frozenset()), "0.0.0.0:25"),
        (replace(AS_WISHED, pending=frozenset({"mail"})), "(resumed)"),
        (with_unit("postfix@-.service", UnitFact("failed", "enabled", stale=False)), "postfix"),
        (with_unit("postfix.service", UnitFact("active", "disabled", stale=False)), "postfix"),
        (with_unit("postfix.service", UnitFact("active", "enabled", stale=True)), "postfix"),
        (with_unit("opendkim.service", UnitFact("active", "masked", stale=False)), "opendkim"),
        (with_unit("opendkim.service", UnitFact("inactive", "enabled", stale=False)), "opendkim"),
    ],
)
def test_whatever_strays_from_the_wish_is_seen_and_nothing_else_is_touched(facts: Facts, named: str) -> None:
    (change,) = plan(WISH, facts)
    assert change.summary.startswith("mail:")
    assert named in change.summary


def test_only_the_file_that_strays_travels() -> None:
    (change,) = plan(WISH, with_file(MAIN.path, sha256="0" * 64))
    assert change.files == (MAIN,)


def test_a_missing_package_is_installed_and_no_other() -> None:
    (change,) = plan(WISH, replace(AS_WISHED, packages={"nftables": "1.0"}))
    assert change.script.splitlines()[-1] == "packages postfix"


def test_what_packages_are_to_find_is_laid_before_they_come_and_asked_for_nothing_else() -> None:
    wish = replace(WISH, ground=(Condition("seed", "[ -e /etc/seed ]", ": >/etc/seed"),))
    (change,) = plan(wish, replace(AS_WISHED, packages={"nftables": "1.0"}))
    assert change.script.splitlines()[-2:] == ["cured seed '[ -e /etc/seed ]' ': >/etc/seed'", "packages postfix"]
    assert plan(wish, AS_WISHED) == ()


def test_an_interrupted_installation_is_finished_though_every_package_is_there() -> None:
    (change,) = plan(WISH, replace(AS_WISHED, dpkg_interrupted=True))
    assert "interrupted" in change.summary


def test_a_running_service_is_reloaded_and_not_restarted() -> None:
    (change,) = plan(WISH, with_file(MAIN.path, sha256="0" * 64))
    assert "settled 'postfix reload'" in change.script
    assert "unit_on postfix postfix@- start" in change.script


def test_a_file_that_needs_it_restarts_the_service_instead() -> None:
    (change,) = plan(WISH, with_file(BIG.path, sha256="0" * 64))
    assert "unit_on postfix postfix@- restart" in change.script
    assert "settled" not in change.script


def test_a_service_that_is_active_and_does_not_listen_is_restarted() -> None:
    (change,) = plan(WISH, replace(AS_WISHED, listening=frozenset()))
    assert "unit_on postfix postfix@- restart" in change.script


def test_what_is_written_is_checked_before_any_service_reads_it() -> None:
    (change,) = plan(WISH, with_file(MAIN.path, sha256="0" * 64))
    lines = change.script.splitlines()
    put, checked = lines.index(f"put {MAIN.path}"), lines.index("checked 'postfix check'")
    assert put < checked < lines.index("settled 'postfix reload'")


def test_a_component_that_a_dead_run_left_is_checked_and_restarted_even_if_its_files_are_right() -> None:
    (change,) = plan(WISH, replace(AS_WISHED, pending=frozenset({"mail"})))
    assert change.files == ()
    for line in ("checked 'postfix check'", "unit_on postfix postfix@- restart", "systemctl daemon-reload"):
        assert line in change.script


def test_systemd_is_told_of_new_files_of_units_and_reloaded_only_where_it_holds_old_ones_or_nobody_knows() -> None:
    single = File("/etc/systemd/system/keeper.service", b"[Unit]\n")
    template = File("/etc/systemd/system/signer@.service", b"[Unit]\n")
    parts = Component("parts", files=(single, template), units=(Unit("signer@rsa.service"),))
    (change,) = plan(Desired(components=(parts,)), Facts(state="running"))
    assert "read_anew keeper.service signer@rsa.service" in change.script.splitlines()
    assert "daemon-reload" not in change.script
    drop_in = Component("drop-in", files=(File("/etc/systemd/system/keeper.service.d/more.conf", b"[Unit]\n"),))
    (change,) = plan(Desired(components=(drop_in,)), Facts(state="running"))
    assert "systemctl daemon-reload" in change.script.splitlines()


def test_units_go_off_before_others_come_on() -> None:
    (change,) = plan(WISH, with_file(BIG.path, sha256="0" * 64))
    assert change.script.index("unit_off opendkim") < change.script.index("unit_on postfix")


# --- arming ---------------------------------------------------------------------------------------------------------


def test_a_change_of_the_door_is_armed_first_and_must_be_confirmed() -> None:
    changes = plan(WISH, Facts(state="running"))
    script, _ = apply_script(changes, arm_seconds=77)
    assert needs_confirmation(changes)
    body = script[script.index("\nbegin ") :]
    assert body.index("arm 77") < body.index("armed_component door")


def test_a_change_that_cannot_lock_anybody_out_is_not_armed() -> None:
    changes = plan(WISH, with_file(MAIN.path, sha256="0" * 64))
    script, _ = apply_script(changes)
    assert not needs_confirmation(changes)
    assert "\narm " not in script[script.index("\nbegin ") :]


def test_an_armed_host_is_confirmed_by_the_next_run() -> None:
    (change,) = plan(WISH, replace(AS_WISHED, armed=True))
    assert change.script == "confirm"
    assert not needs_confirmation([change])


def test_confirming_waits_until_the_armed_change_itself_is_made() -> None:
    changed_door = replace(AS_WISHED, armed=True, pending=frozenset({"door"}))
    (change,) = plan(WISH, changed_door)
    assert change.armed


def test_the_confirmation_refuses_the_connection_that_armed() -> None:
    assert "same-connection" in confirm_script()


# --- secrets and payload --------------------------------------------------------------------------------------------


def test_no_content_of_a_file_is_in_a_script_a_summary_or_a_repr() -> None:
    changes = plan(WISH, Facts(state="running"))
    script, payload = apply_script(changes)
    told = [script, facts_script(WISH), repr(WISH), repr(changes), *(change.summary for change in changes)]
    digest = sha256(USERS.content).hexdigest()
    for text in told:
        assert SECRET not in text
        assert digest not in text
    assert SECRET.encode() in payload


def test_the_payload_holds_each_file_whole_beside_its_place() -> None:
    _, payload = apply_script(plan(WISH, Facts(state="running")))
    with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
        entry = archive.getmember("etc/dovecot/users.penguin-new")
        content = archive.extractfile(entry)
        assert content is not None
        assert content.read() == USERS.content
        assert (entry.mode, entry.uname, entry.gname) == (0o640, "root", "dovecot")


def test_the_script_knows_the_payload_it_belongs_to() -> None:
    script, payload = apply_script(plan(WISH, Facts(state="running")))
    assert f"begin {sha256(payload).hexdigest()} " in script


def test_the_same_changes_give_the_same_script_and_payload() -> None:
    changes = plan(WISH, Facts(state="running"))
    assert apply_script(changes) == apply_script(changes)


# --- words of the host ----------------------------------------------------------------------------------------------

ANSWER = "".join(
    f"{line}\n"
    for line in (
        "state\trunning",
        "hostname\tmail.acme.example",
        "clock\t1795345163",
        "boot\t5b529842\t120",
        "container\tnone",
        "system\tdebian\t12",
        "failed\tcron.service",
        "address\teth0\t198.51.100.50/24",
        "listening\t0.0.0.0:25",
        "pending\tmail",
        "armed\t1795345100",
        "dpkg\tinterrupted",
        "package\tpostfix\tii \t3.7.11",
        "package\tunbound\tiF \t1.17.1",
        "stat\t/etc/postfix/main.cf\t644\troot:root\tregular file",
        "sha256\t/etc/postfix/main.cf\tabc",
        "unit\tpostfix.service\tactive\tenabled\tno",
        "unit\tdovecot.service\tactive\tenabled\tyes",
        "holds\tmail/account",
        "broken\tmail/answers",
        "certificate\t/etc/ssl/penguin/mail.crt\tJan  1 00:00:00 2027 GMT",
        "end",
    )
)


def test_facts_are_read_as_they_were_told() -> None:
    facts = parse_facts(ANSWER)
    assert facts.packages == {"postfix": "3.7.11"}  # unbound is unpacked, not installed
    assert facts.files == {"/etc/postfix/main.cf": FileFact("644", "root:root", "regular file", "abc")}
    assert facts.units["dovecot.service"] == UnitFact("active", "enabled", stale=True)
    assert facts.holds == {"mail/account"}
    assert (facts.armed, facts.dpkg_interrupted, facts.pending, facts.busy) == (True, True, {"mail"}, False)
    assert facts.addresses == (("eth0", "198.51.100.50/24"),)
    assert facts.listens_on(25)
    assert not facts.listens_on(587)
    assert facts.certificates["/etc/ssl/penguin/mail.crt"].endswith("2027 GMT")


def test_a_port_on_loopback_does_not_count_as_open() -> None:
    assert not parse_facts(ANSWER.replace("0.0.0.0:25", "127.0.0.1:25")).listens_on(25)


@pytest.mark.parametrize("kept", range(ANSWER.count("\n")))
def test_facts_that_were_cut_short_are_none(kept: int) -> None:
    with pytest.raises(IncompleteFacts):
        parse_facts("\n".join(ANSWER.splitlines()[:kept]))


def test_nothing_is_planned_on_a_host_that_is_still_booting() -> None:
    with pytest.raises(IncompleteFacts, match="starting"):
        parse_facts(ANSWER.replace("state\trunning", "state\tstarting"))


def test_a_degraded_host_has_booted() -> None:
    assert parse_facts(ANSWER.replace("state\trunning", "state\tdegraded")).booted


@given(st.text(alphabet=st.sampled_from("abst\t\n/.0 end")))
def test_noise_is_never_taken_for_facts(noise: str) -> None:
    with pytest.raises(IncompleteFacts):
        parse_facts(noise + "\nend\n")


@pytest.mark.parametrize(
    ("status", "output", "outcome"),
    [
        (0, "done\tpackages\ndone\tmail\nend\n", Applied(("packages", "mail"))),
        (
            75,
            "done\tpackages\nrefused\tapt-lock\theld by process 7\n",
            Refused("apt-lock", "held by process 7", passing=True, done=("packages",)),
        ),
        (65, "refused\tcheck-mail\tline 3\n", Refused("check-mail", "line 3", passing=False)),
        (
            0,
            "done\tpackages\n",
            Refused("unfinished", "the script ended with status 0", passing=True, done=("packages",)),
        ),
        (137, "", Refused("unfinished", "the script ended with status 137", passing=True)),
        (1, "end\n", Refused("unfinished", "the script ended with status 1", passing=True)),
    ],
)
def test_the_host_is_taken_at_its_word(status: int, output: str, outcome: Applied | Refused) -> None:
    assert parse_outcome(status, output) == outcome


# --- wishes that no host could take ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["etc/x", "/etc/x y", "/etc/../x", "/etc/$(id)", "/etc/x;id", "/etc/x\n", ""])
def test_a_path_that_a_shell_could_misread_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        File(path, b"")


@pytest.mark.parametrize("owner", ["root", "root:root; id", "Root:root", ":"])
def test_an_owner_is_a_user_and_a_group(owner: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        File("/etc/x", b"", owner=owner)


@pytest.mark.parametrize("mode", ["rw", "0o644", "9", "77777"])
def test_a_mode_is_octal(mode: str) -> None:
    with pytest.raises(ValueError, match="mode"):
        File("/etc/x", b"", mode=mode)


def test_two_components_cannot_own_one_file() -> None:
    with pytest.raises(ValueError, match="twice"):
        Desired(components=(Component("a", files=(MAIN,)), Component("b", files=(MAIN,))))


def test_a_package_name_cannot_carry_an_option_or_a_command() -> None:
    for name in ("-o", "a b", "a;id"):
        with pytest.raises(ValueError, match="package"):
            Desired(packages=(name,))
