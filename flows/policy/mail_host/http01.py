"""The host's answers to a certificate authority: a unit of systemd that ends by itself and leaves nothing behind."""

import shlex
from collections.abc import Sequence

from flows.policy.host_files import text

UNIT = "penguin-http01"
PORT = 80  # RFC 8555 section 8.3
LIFE_SECONDS = 300  # longer than an authority looks; a worker that was killed finds its answers still there
_LISTENS = f"ss -Hltn 'sport = :{PORT}' | grep -q ."


def answer_script(answers: Sequence[tuple[str, str]]) -> str:
    """Serves (token, answer) pairs on port 80 from now on, and returns once it listens; exit 1 when it cannot."""
    pairs = [word for pair in answers for word in pair]
    command = shlex.join(["/usr/bin/python3", "-I", "-c", text("http01.py"), str(PORT), *pairs])
    limits = (
        f"-p RuntimeMaxSec={LIFE_SECONDS} -p User=nobody -p AmbientCapabilities=CAP_NET_BIND_SERVICE"
        " -p NoNewPrivileges=yes -p ProtectSystem=strict -p ProtectHome=yes -p PrivateTmp=yes"
    )
    return "\n".join(
        (
            stop_script(),
            f"! {_LISTENS} || {{ echo 'port {PORT} is taken:' $(ss -Hltnp 'sport = :{PORT}') >&2; exit 1; }}",
            f"systemd-run --quiet --collect --unit={UNIT} {limits} {command} || exit 1",
            f"for _ in $(seq 100); do {_LISTENS} && exit 0; systemctl -q is-active {UNIT} || break; sleep 0.1; done",
            f"journalctl -q -u {UNIT} -n 3 -o cat >&2; exit 1",
            "",
        )
    )


def stop_script() -> str:
    """Ends the answers; safe to repeat."""
    return f"systemctl -q stop {UNIT} 2>/dev/null || :"
