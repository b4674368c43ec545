"""The ACME authority of a world: Pebble on the DNS host, nonce rejections left on, its root in the trust file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandbox.state import write_whole
from sandbox.zones import CERTIFICATES, HOST

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.certificates import Authority
    from sandbox.hosts import HostBackend

NAME = "ca.lab.example"
PORT, MANAGEMENT_PORT = 14000, 15000
FOLDER = "etc/pebble"
LIFE_SECONDS = 90 * 86400
START_LIMIT_SECONDS = 30.0
# Its root is new at every start, so it is read from it; and a start that others wait for has ended when it answers.
READ_ROOT = f"""
for _ in $(seq 300); do
    curl -sf --cacert /{FOLDER}/ca.crt https://{NAME}:{MANAGEMENT_PORT}/roots/0 && exit 0
    sleep 0.1
done
exit 1
"""


def directory() -> str:
    """Give the address an ACME client begins at."""
    return f"https://{NAME}:{PORT}/dir"


def config(life_seconds: int = LIFE_SECONDS) -> str:
    """Write Pebble's configuration: HTTP-01 on port 80, as in the world outside."""
    return json.dumps(
        {
            "pebble": {
                "listenAddress": f"{CERTIFICATES}:{PORT}",
                "managementListenAddress": f"{CERTIFICATES}:{MANAGEMENT_PORT}",
                "certificate": f"/{FOLDER}/api.crt",
                "privateKey": f"/{FOLDER}/api.key",
                "httpPort": 80,
                "tlsPort": 443,
                "domainBlocklist": ["blocked.example"],
                "certificateValidityPeriod": life_seconds,
            }
        },
        indent=2,
    )


class Pebble:
    """The authority of a running world, and what may be done to it."""

    def __init__(self, hosts: HostBackend, authority: Authority, trust_file: Path) -> None:
        """`trust_file` is what mail programs of the world trust: the world's own root and Pebble's."""
        self.hosts, self.authority, self.trust_file = hosts, authority, trust_file

    def prepare(self, tree: Path) -> None:
        """Lay configuration and a certificate for its HTTPS into the DNS host's tree before it boots."""
        issued = self.authority.issue([NAME])
        (tree / FOLDER).mkdir(exist_ok=True)
        (tree / FOLDER / "config.json").write_text(config())
        (tree / FOLDER / "api.crt").write_text(issued.certificate)
        (tree / FOLDER / "ca.crt").write_text(self.authority.certificate_file.read_text())
        write_whole(tree / FOLDER / "api.key", issued.key, 0o644)  # of a stand-in: its process is an ordinary user
        self.trust_only_the_world()

    def trust_only_the_world(self) -> None:
        """Write the trust file without Pebble, so that there is one before it has started."""
        write_whole(self.trust_file, self.authority.certificate_file.read_text())

    def refresh_trust(self) -> None:
        """Read Pebble's root and put it beside the world's; raise RuntimeError when Pebble does not answer."""
        done = self.hosts.execute(HOST, READ_ROOT, b"", START_LIMIT_SECONDS + 10)
        if done.code:
            raise RuntimeError(f"Pebble does not answer: {done.err.decode(errors='replace')[-300:]}")
        write_whole(self.trust_file, self.authority.certificate_file.read_text() + done.out.decode())

    def restart(self, life_seconds: int = LIFE_SECONDS) -> None:
        """Begin anew: accounts and orders are forgotten, the root is another, certificates live so long."""
        self._run(f"cat >/{FOLDER}/config.json && systemctl restart pebble", config(life_seconds).encode())
        self.refresh_trust()

    def stop(self) -> None:
        """Let the authority be down; what it knew is forgotten."""
        self._run("systemctl stop pebble")

    def _run(self, script: str, stdin: bytes = b"") -> None:
        done = self.hosts.execute(HOST, script, stdin, START_LIMIT_SECONDS)
        if done.code:
            raise RuntimeError(f"{HOST}: {done.err.decode(errors='replace')[:300]}")
