"""Daily caps that hold on the host itself, whatever becomes of the worker."""

import json

from flows.policy.convergence import Component, Condition, File, Unit
from flows.policy.host_files import text
from flows.policy.mail_host.nouns import MailHost

CAPS_FILE = "/etc/penguin/caps.json"
CANARY = "postmaster"  # sends the proofs, under a cap of its own


def component(host: MailHost) -> Component:
    """The keeper, its socket and its caps. systemd holds the socket, so a restart refuses nobody."""
    account = "useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin penguin-caps"
    return Component(
        "caps",
        before=(Condition("account", "getent passwd penguin-caps", account),),
        files=(
            File("/usr/local/lib/penguin/cap_keeper.py", text("cap_keeper.py").encode(), mode="755"),
            File("/etc/systemd/system/penguin-caps.socket", text("penguin-caps.socket").encode(), restart=True),
            File("/etc/systemd/system/penguin-caps.service", text("penguin-caps.service").encode()),
            File(CAPS_FILE, caps_file(host).encode()),
        ),
        check=f"python3 -I -m py_compile /usr/local/lib/penguin/cap_keeper.py && python3 -I -m json.tool {CAPS_FILE}",
        settle="systemctl try-restart penguin-caps.service",
        units=(Unit("penguin-caps.socket"), Unit("penguin-caps.service")),
    )


def caps_file(host: MailHost) -> str:
    """The plan as the keeper reads it; without one, every mailbox has the first day's figure."""
    plan = host.caps
    caps = {
        "first_day": host.first_day_cap,
        "canary_cap": host.canary_cap,
        "canaries": sorted(f"{CANARY}@{domain.name}" for domain in host.domains),
        "valid_until": None if plan is None else plan.valid_until.isoformat(),
        "users": {} if plan is None else dict(sorted(plan.users.items())),
        "addresses": {} if plan is None else {str(ip): cap for ip, cap in sorted(plan.addresses.items())},
        "address_of": {d.name: str(a.ip) for d in host.domains for a in host.addresses if a.transport == d.transport},
    }
    return json.dumps(caps, indent=1, sort_keys=True) + "\n"
