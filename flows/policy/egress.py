"""Whether a host may talk to port 25 of the world: measured from the host, per source address."""

import json
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from flows.policy.verdict import Truth, Verdict

ANSWERS_NEEDED: Final = 2
ANSWER_SECONDS: Final = 8

PROBE: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def banner(pair):
    source, host = pair
    try:
        with socket.create_connection((host, 25), SECONDS, source_address=(source, 0)) as peer:
            peer.settimeout(SECONDS)
            said = peer.recv(200).decode("ascii", "replace").strip()
            peer.sendall(b"QUIT\\r\\n")
    except socket.gaierror as error:
        said = "unresolved"
    except OSError as error:
        said = "blocked"
    return {"source": source, "host": host, "said": said[:100]}

pairs = [(source, host) for source in SOURCES for host in HOSTS]
with ThreadPoolExecutor(8) as threads:
    for row in threads.map(banner, pairs):
        print(json.dumps(row))
"""


def probe_script(sources: Sequence[IPv4Address], hosts: Sequence[str]) -> str:
    """A POSIX script that prints one JSON line per source and host; python3 came with secure_host's packages."""
    values = {
        "SECONDS": str(ANSWER_SECONDS),
        "SOURCES": json.dumps([str(s) for s in sources]),
        "HOSTS": json.dumps(list(hosts)),
    }
    program = PROBE
    for name, value in values.items():
        program = program.replace(name, value)
    return f"python3 -I - <<'PROBE'\n{program}\nPROBE\n"


def judge(source: IPv4Address, hosts: Sequence[str], printed: str) -> Verdict:
    """PASS: two banners from this source. FAIL: none although names resolve. Else UNKNOWN."""
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    own = [row for row in rows if row["source"] == str(source)]
    found = tuple(f"{source} → {row['host']}: {row['said']}" for row in own)
    greeted = sum(row["said"].startswith("220") for row in own)
    expected = f"220 from {ANSWERS_NEEDED} of {len(hosts)} hosts"
    if greeted >= min(ANSWERS_NEEDED, len(hosts)) > 0:
        return Verdict("egress", Truth.PASS, expected=expected, found=found)
    if not greeted and any(row["said"] == "blocked" for row in own):
        fix = f"port 25 outwards is blocked from {source}: ask the provider to open it"
        return Verdict("egress", Truth.FAIL, "egress_blocked", expected, found, fix)
    said = "; ".join(found) or "the probe printed nothing"
    fix = f"port 25 outwards could not be proven from {source} ({said}): look at the host"
    return Verdict("egress", Truth.UNKNOWN, "egress_mixed", expected, found, fix)
