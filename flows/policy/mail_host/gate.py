"""The gate: no author of another domain leaves, and no return path that we did not make comes back."""

import json
from pathlib import Path

from flows.policy.convergence import Component, Condition, File, Unit
from flows.policy.host_files import text
from flows.policy.mail_host.nouns import MailHost

LIBRARY = "/usr/local/lib/penguin"
PROGRAM = f"{LIBRARY}/gate.py"
KEYS_FILE = "/etc/penguin/return-paths.json"
RULES = ("authors.py", "verp.py")  # of flows/policy, word for word: the host imports them under the same name


def component(host: MailHost) -> Component:
    """The program, the rules it imports, and its two doors. systemd holds them, so a restart refuses nobody."""
    del host
    account = "useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin penguin-gate"
    ours = Path(__file__).parents[1]
    rules = [File(f"{LIBRARY}/flows/policy/{name}", (ours / name).read_bytes()) for name in RULES]
    return Component(
        "gate",
        before=(Condition("account", "getent passwd penguin-gate", account),),
        files=(
            File(PROGRAM, text("gate.py").encode(), mode="755"),
            *rules,
            File("/etc/systemd/system/penguin-gate.socket", text("penguin-gate.socket").encode(), restart=True),
            File("/etc/systemd/system/penguin-gate.service", text("penguin-gate.service").encode()),
        ),
        check=f"cd {LIBRARY} && python3 -E -s -B -c 'import gate'",
        settle="systemctl try-restart penguin-gate.service",
        units=(Unit("penguin-gate.socket"), Unit("penguin-gate.service")),
    )


def keys(host: MailHost) -> Component:
    """Keys of return paths, apart from the gate: it reads their file whenever it is asked and needs no restart."""
    listed = {domain.name: list(domain.return_path_keys) for domain in host.domains}
    return Component(
        "return-paths",
        files=(
            File(KEYS_FILE, f"{json.dumps(listed, indent=1, sort_keys=True)}\n".encode(), "640", "root:penguin-gate"),
        ),
        check=f"python3 -I -m json.tool {KEYS_FILE} >/dev/null",
    )
