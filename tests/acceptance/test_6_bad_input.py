"""What goes wrong outside: one sentence, a truthful state, nothing bought that should not be, and on it goes."""

import re
import time
from collections.abc import Callable

import pytest

from tests.support.world import DONE, FOR_OPERATOR, PATIENCE_SECONDS, RECEIVER, WAITING, Lab, Tenant, at_once

IMPATIENT = {"PENGUINMAILS_DNS__PUBLISH_WAIT_SECONDS": "8", "PENGUINMAILS_MAIL__ARRIVAL_WAIT_SECONDS": "3"}
WRONG_KEY = {"PENGUINMAILS_HOSTWINDS__API_KEY": "0123456789abcdef0123456789abcdef"}
SENTENCE_LIMIT = 700
WINDOWS = ("LISTED", "ACTIVE", "SSH")
# A machine of its own, a quarter behind, without a time service: until it is told the time, apt refuses its indexes.
BEHIND = "/run/behind"
MONTHS_BEHIND = {
    "date": f"""#!/bin/sh
case "$*" in *-s*@*) [ $((${{*##*@}} - $(/bin/date +%s))) -ge -60 ] && rm {BEHIND}; exit ;; esac
[ ! -e {BEHIND} ] || exec /bin/date -d '-90 days' "$@"
exec /bin/date "$@"
""",
    "apt-get": f"""#!/bin/sh
[ ! -e {BEHIND} ] || {{ echo 'E: Release file for http://mirror.example/ is not valid yet' >&2; exit 100; }}
exec /usr/bin/apt-get "$@"
""",
    "systemd-detect-virt": "#!/bin/sh\necho none\nexit 1\n",
}
TIME_SERVICE = "/etc/systemd/system/systemd-timesyncd.service"  # a stand-in: a container may not have the real one
KEEPS_TIME = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
AN_HOUR_AHEAD = b'#!/bin/sh\nexec /bin/date -d "+1 hour" "$@"\n'  # hosts share their machine's clock


class Journey:
    """A tenant that meets one trouble after another, and what it was told each time."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.tenant = lab, lab.add_tenant(name)
        self.told: dict[str, str] = {}

    def meets(self, trouble: str, code: int, *words: str, **settings: str) -> None:
        """Onboard: it ends with `code`, and one sentence holds all the words."""
        ran = self.lab.onboard(self.tenant, **IMPATIENT, **settings)
        assert ran.code == code, f"{trouble}: {ran.said}"
        run = self.lab.run_of(self.tenant)
        assert run["status"] == "waiting"
        assert (run["wait_reason"] == "operator") == (code == FOR_OPERATOR)
        assert code != FOR_OPERATOR or run["resume_at"] or "python -m flows" in run["wait_detail"], trouble
        for word in words:
            assert word.lower() in run["wait_detail"].lower(), f"{trouble}: {run['wait_detail']}"
        assert "\n" not in run["wait_detail"]
        assert len(run["wait_detail"]) < SENTENCE_LIMIT
        assert "Traceback" not in ran.said
        self.told[trouble] = run["wait_detail"]

    def goes_live(self, **settings: str) -> None:
        """The causes are gone: it ends well, on one server."""
        ran = self.lab.onboard(self.tenant, **settings)
        assert ran.code == DONE, ran.said
        assert self.lab.instance_of(self.tenant)["status"] == "active"
        assert self.lab.bought_for(self.tenant) == ["server"]

    @property
    def token(self) -> str:
        return self.lab.instance_of(self.tenant)["instance_id"]


def answer_troubles(journey: Journey) -> None:
    """The provider refuses and babbles. The next question of whomever meets the nonsense: nobody else may ask now."""
    lab, tenant = journey.lab, journey.tenant
    journey.meets("wrong key", FOR_OPERATOR, "IPv4", **WRONG_KEY)
    assert lab.bought_for(tenant) == []
    for nonsense in ("html_520", "truncated_json"):
        lab.admin.fault(nonsense, action="get_instances")
        journey.meets(nonsense, WAITING, "hostwinds", "get_instances")
    assert lab.bought_for(tenant) == []


def outgoing_troubles(journey: Journey) -> None:
    """The provider filters and blocks outgoing mail of a server broken in one unit, whose SSH stumbles."""
    lab, tenant = journey.lab, journey.tenant
    for quirk in ("boot_degraded", "ssh_flap"):
        lab.admin.fault(quirk, action="add_instance", label=journey.token)
    lab.admin.fault("smtp_filter", action="add_instance", label=journey.token)
    journey.meets("filter", FOR_OPERATOR, "blocks outgoing mail", "panel")
    assert "sandbox-broken" in lab.on_host(tenant, "systemctl --failed --plain --no-legend")
    assert lab.bought_for(tenant) == ["server"]
    (server,) = [server for server in lab.admin.servers() if server["label"] == journey.token]
    lab.admin.ask("clear_smtp_filter", serviceid=server["serviceid"])
    lab.admin.settle()  # with the filter its block of port 25 goes, before ours comes
    lab.world.block_port25(server["main_ip"], "out", on=True)
    journey.meets("port 25", FOR_OPERATOR, "25")
    lab.world.block_port25(server["main_ip"], "out", on=False)
    assert lab.rows("SELECT id FROM dkim_keys WHERE tenant_id = %s", tenant.id) == []
    journey.goes_live()


def people_troubles(journey: Journey) -> None:
    """The tenant's DNS host, the server itself and the receiver refuse; the server's clock is wrong."""
    lab, tenant = journey.lab, journey.tenant
    lab.hand_over_dns(tenant, secret="bm90IHRoZSBzZWNyZXQgdGhhdCB3YXMgZ2l2ZW4gdG8gdXM=")
    journey.meets("tsig", FOR_OPERATOR, "publish_dns", tenant.domain)
    lab.hand_over_dns(tenant)
    key = "/etc/ssh/ssh_host_ed25519_key"
    lab.on_host(tenant, f"mkdir /k && mv {key}* /k && ssh-keygen -q -t ed25519 -N '' -f {key} && systemctl restart ssh")
    journey.meets("host key", FOR_OPERATOR, "host key")
    lab.on_host(tenant, f"mv /k/* /etc/ssh && chmod 600 {key} && systemctl restart ssh")
    lab.on_host(tenant, "cat > /usr/local/bin/date && chmod +x /usr/local/bin/date", AN_HOUR_AHEAD)
    journey.meets("clock", FOR_OPERATOR, "s ahead of ours", "nothing is signed by it", "timedatectl", "retry")
    assert lab.proofs_of(tenant) == []
    lab.on_host(tenant, "rm /usr/local/bin/date")
    receiver = lab.world.receiver(RECEIVER)
    # Without an end to it: Postfix asks the receiver's other MX hosts at once.
    receiver.rules([{"match": {"sender": tenant.domain}, "action": "451 4.7.1 greylisted, try later"}])
    journey.meets("receiver 451", WAITING, "is not in", RECEIVER)
    receiver.clear()
    lab.on_host(tenant, "postqueue -f")
    journey.goes_live()


def server_troubles(journey: Journey) -> None:
    """A server that came up slowly, on an address that is blocked both ways and listed."""
    lab, tenant = journey.lab, journey.tenant
    journey.meets("wrong key", FOR_OPERATOR, "IPv4", **WRONG_KEY)
    for quirk in ("ip_changes_during_build", "boot_slow", "port25_blocked", "port25_in_blocked"):
        lab.admin.fault(quirk, action="add_instance", label=journey.token)
    lab.admin.fault("ip_prelisted", action="add_instance", label=journey.token, zone="spamhaus-zen")
    journey.meets("blocked from the first", FOR_OPERATOR, "port 25 outwards is blocked", "ask the provider")
    (server,) = [server for server in lab.admin.servers() if server["label"] == journey.token]
    assert lab.instance_of(tenant)["ip"] == server["main_ip"]
    lab.admin.port25(server["serviceid"], open_=True)
    lab.admin.settle()
    journey.meets("listed from the first", FOR_OPERATOR, server["main_ip"], "is listed", "spamhaus")
    lab.world.delist(server["main_ip"], "spamhaus-zen")
    journey.meets("deaf from the first", FOR_OPERATOR, "port 25 inwards is blocked", server["main_ip"])
    lab.admin.port25(server["serviceid"], open_=True, direction="in")
    lab.admin.settle()
    lab.admin.ask("lock_in_panel", serviceid=server["serviceid"], locked=True)
    lab.admin.fault("locked_refuses", action="set_rdns", label=journey.token, scope="all")
    journey.meets("locked in the panel", FOR_OPERATOR, "set_reverse_dns", "locked")
    lab.admin.ask("lock_in_panel", serviceid=server["serviceid"], locked=False)
    lab.admin.fault("accept_without_effect", action="set_rdns", label=journey.token)
    journey.meets("said and not done", WAITING, f"expected mail.{tenant.domain}, found hwsrv-")
    assert lab.run_of(tenant)["wait_reason"] == "provider"
    journey.goes_live()


def silent_server(journey: Journey, quirk: str) -> None:
    """A server that the provider calls active and that nobody reaches: a person's matter when its time is up."""
    lab, brief = journey.lab, {f"PENGUINMAILS_HOSTWINDS__{name}_WINDOW_MINUTES": "0.05" for name in WINDOWS}
    journey.meets("wrong key", FOR_OPERATOR, "IPv4", **WRONG_KEY)
    lab.admin.fault(quirk, action="add_instance", label=journey.token)
    journey.meets(quirk, FOR_OPERATOR, "is not ready", "console", **brief)
    assert lab.bought_for(journey.tenant) == ["server"]


def ssh_trouble(journey: Journey) -> None:
    """A server whose clock is months behind, and that stops answering SSH in the middle of a run."""
    lab, tenant = journey.lab, journey.tenant
    lab.dies(tenant, "before", "flows.onboarding.hosts:converge", 1)
    for name, script in MONTHS_BEHIND.items():
        lab.on_host(tenant, f"cat > /usr/local/bin/{name} && chmod +x /usr/local/bin/{name}", script.encode())
    lab.on_host(tenant, f"touch {BEHIND}; cat > {TIME_SERVICE}", KEEPS_TIME.encode())
    lab.on_host(tenant, "systemctl stop ssh")

    def mend() -> None:
        until(lambda: bool(failures(lab, tenant)))
        lab.on_host(tenant, "systemctl start ssh")

    at_once(journey.goes_live, mend)
    journey.told["ssh"] = failures(lab, tenant)[0]
    lab.on_host(tenant, f"! [ -e {BEHIND} ] && cd /usr/local/bin && rm {' '.join(MONTHS_BEHIND)}")


def failures(lab: Lab, tenant: Tenant) -> list[str]:
    rows = lab.rows(
        "SELECT error_message FROM provisioning_attempts WHERE tenant_id = %s AND outcome = 'failed'", tenant.id
    )
    return [row["error_message"] for row in rows]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def journeys(quiet: Lab) -> dict[str, Journey]:
    """Tenants that met every trouble, one after another, and went live all the same."""
    names = ("provider", "people", "ssh", "server", "silent", "unrouted")
    made = {name: Journey(quiet, f"troubled-{name}") for name in names}
    answer_troubles(made["provider"])
    at_once(
        lambda: outgoing_troubles(made["provider"]),
        lambda: people_troubles(made["people"]),
        lambda: ssh_trouble(made["ssh"]),
        lambda: server_troubles(made["server"]),
        lambda: silent_server(made["silent"], "ssh_never"),
        lambda: silent_server(made["unrouted"], "ip_not_routed"),
    )
    return made


def test_troubles_with_the_provider_are_told_and_outlived(journeys: dict[str, Journey]) -> None:
    assert set(journeys["provider"].told) == {"wrong key", "html_520", "truncated_json", "filter", "port 25"}


def test_a_refusing_dns_host_a_foreign_host_key_a_wrong_clock_and_a_deferring_receiver_are_told_and_outlived(
    journeys: dict[str, Journey],
) -> None:
    assert set(journeys["people"].told) == {"tsig", "host key", "clock", "receiver 451"}


def test_a_server_that_refuses_ssh_for_a_while_is_told_and_outlived(journeys: dict[str, Journey]) -> None:
    assert "198.51.100." in journeys["ssh"].told["ssh"]


def test_a_server_without_a_time_service_is_told_the_time_before_apt_is_asked(journeys: dict[str, Journey]) -> None:
    """A quarter behind, apt takes the mirror's indexes for not yet valid: no time service could be installed."""
    lab, tenant = journeys["ssh"].lab, journeys["ssh"].tenant
    (step,) = lab.rows(
        "SELECT output FROM provisioning_steps WHERE tenant_id = %s AND step_key = 'secure_host'", tenant.id
    )
    assert re.fullmatch(r"clock: set, it was 77\d{5} s behind", step["output"]["changed"][0])


def test_a_server_that_came_badly_on_a_blocked_and_listed_address_is_told_step_by_step_and_goes_live(
    journeys: dict[str, Journey],
) -> None:
    assert len(journeys["server"].told) == 6


@pytest.mark.parametrize("name", ["silent", "unrouted"])
def test_a_server_that_nobody_reaches_is_told_and_not_replaced(journeys: dict[str, Journey], name: str) -> None:
    assert journeys[name].lab.instance_of(journeys[name].tenant)["status"] == "provisioning"


def test_a_server_in_error_is_not_replaced_by_another(quiet: Lab) -> None:
    tenant = quiet.add_tenant("in-error")
    quiet.admin.fault("build_error", action="add_instance")
    ran = quiet.onboard(tenant)
    assert ran.code == FOR_OPERATOR, ran.said
    assert "is in ERROR at the provider" in quiet.run_of(tenant)["wait_detail"]
    again = quiet.onboard(tenant)
    assert again.code == FOR_OPERATOR, again.said
    assert quiet.bought_for(tenant) == ["server"]


def test_orders_that_cannot_be_carried_out_buy_nothing(quiet: Lab) -> None:
    """No subscription, too much wanted, no host name, an unknown tenant; the flows ring has every other refusal."""
    charges = len(quiet.admin.charges())
    unpaid, greedy, odd = (quiet.add_tenant(name) for name in ("unpaid", "greedy", "odd"))
    quiet.rows("UPDATE subscriptions SET status = 'cancelled' WHERE tenant_id = %s RETURNING id", unpaid.id)
    quiet.rows(
        "UPDATE tenants SET settings = %s WHERE id = %s RETURNING id", '{"infrastructure": {"ips": 3}}', greedy.id
    )
    quiet.rows("UPDATE domains SET domain_name = 'not a host' WHERE tenant_id = %s RETURNING id", odd.id)
    cases = {unpaid: "subscription", greedy: "ips", odd: "not a host"}

    def refused(tenant: Tenant, word: str) -> None:
        ran = quiet.onboard(tenant)
        assert ran.code == 5, ran.said
        assert word in ran.out.lower()

    at_once(*(lambda tenant=tenant, word=word: refused(tenant, word) for tenant, word in cases.items()))
    unknown = quiet.flows("onboard", "00000000-0000-4000-8000-000000000000")
    assert unknown.code == 5, unknown.said
    assert len(quiet.admin.charges()) == charges
