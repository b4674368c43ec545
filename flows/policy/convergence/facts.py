"""One look at a host: the script that looks, and what it saw."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flows.policy.convergence.nouns import Desired
from flows.policy.host_files import text

BOOT_LIMIT_SECONDS = 60  # sshd answers before the boot has ended; a restart that early breaks Postfix's start


class IncompleteFacts(ValueError):
    """The answer is no full set of facts: nothing may be planned on it."""


@dataclass(frozen=True, slots=True)
class FileFact:
    """A path as it is. `sha256` is empty where there is no content to read."""

    mode: str
    owner: str
    kind: str  # stat's words: regular file, symbolic link, directory
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class UnitFact:
    """A unit as systemd sees it."""

    active: str
    enabled: str
    stale: bool  # its file on disk is newer than what systemd has loaded


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one connection and one command told about a host."""

    state: str = "unknown"  # of systemd: running, degraded, starting …
    hostname: str = ""
    system: tuple[str, str] = ("", "")  # ID and VERSION_ID of os-release
    clock_seconds: int = 0  # since the epoch, by the host's own clock
    boot_id: str = ""
    up_seconds: int = 0
    container: str = "none"
    dpkg_interrupted: bool = False
    packages: Mapping[str, str] = field(default_factory=dict[str, str])  # installed ones with their version
    files: Mapping[str, FileFact] = field(default_factory=dict[str, FileFact])
    present: frozenset[str] = frozenset()  # of the paths that should be gone
    units: Mapping[str, UnitFact] = field(default_factory=dict[str, UnitFact])
    holds: frozenset[str] = frozenset()  # conditions, as component/key
    failed: tuple[str, ...] = ()  # units systemd gave up on, ours or not
    pending: frozenset[str] = frozenset()  # components a dead run left half done
    armed: bool = False  # a change waits for its confirmation
    busy: bool = False  # another run is changing the host just now
    addresses: tuple[tuple[str, str], ...] = ()  # (device, address/prefix)
    listening: frozenset[str] = frozenset()  # address:port
    certificates: Mapping[str, str] = field(default_factory=dict[str, str])  # path -> end, in openssl's words

    @property
    def booted(self) -> bool:
        """Whether the boot has ended; degraded counts, since one foreign unit is enough for it."""
        return self.state in {"running", "degraded"}

    def listens_on(self, port: int) -> bool:
        """Whether something outside loopback's reach listens on the TCP port."""
        return any(local.rsplit(":", 1)[-1] == str(port) and not local.startswith("127.") for local in self.listening)


def facts_script(desired: Desired, certificates: Iterable[str] = ()) -> str:
    """One POSIX shell script for one command; reads only, holds no secret."""
    lines = [text("facts.sh"), f"host_facts {BOOT_LIMIT_SECONDS}"]
    lines.append(_call("package_facts", desired.packages))
    lines.append(_call("file_facts", [file.path for file in desired.files]))
    lines.append(_call("gone_facts", [path for component in desired.components for path in component.gone]))
    lines.append(_call("unit_facts", sorted({name for unit in desired.units for name in (unit.name, unit.asked)})))
    lines += [_call("condition", [key, condition.test]) for key, condition in desired.conditions.items()]
    lines += [_call("certificate_fact", [path]) for path in certificates]
    return "\n".join([*lines, "fact end", ""])


def parse_facts(output: str) -> Facts:
    """Facts of a script's output; IncompleteFacts if it was cut short, is something else, or the boot has not ended."""
    rows = [line.split("\t") for line in output.splitlines() if line]
    if not rows or rows[-1] != ["end"]:
        raise IncompleteFacts("the host's answer ends before its last line")
    try:
        facts = _facts_of(rows)
    except (IndexError, ValueError) as error:
        raise IncompleteFacts("the host's answer holds a line of another shape") from error
    if not facts.booted:
        raise IncompleteFacts(f"the host has not finished its boot: {facts.state}")
    return facts


def _call(function: str, arguments: Iterable[str]) -> str:
    return " ".join([function, *map(shlex.quote, arguments)])


def _facts_of(rows: list[list[str]]) -> Facts:
    seen: dict[str, list[list[str]]] = {}
    for name, *fields in rows:
        seen.setdefault(name, []).append(fields)

    def one(name: str, position: int = 0) -> str:
        return seen[name][0][position] if name in seen else ""

    sums = {row[0]: row[1] for row in seen.get("sha256", [])}
    return Facts(
        state=one("state"),
        hostname=one("hostname"),
        system=(one("system"), one("system", 1)),
        clock_seconds=int(one("clock") or 0),
        boot_id=one("boot"),
        up_seconds=int(one("boot", 1) or 0),
        container=one("container"),
        dpkg_interrupted="dpkg" in seen,
        packages={row[0]: row[2] for row in seen.get("package", []) if row[1].startswith("ii")},
        files={row[0]: FileFact(row[1], row[2], row[3], sums.get(row[0], "")) for row in seen.get("stat", [])},
        present=frozenset(row[0] for row in seen.get("present", [])),
        units={row[0]: UnitFact(row[1], row[2], row[3] == "yes") for row in seen.get("unit", [])},
        holds=frozenset(row[0] for row in seen.get("holds", [])),
        failed=tuple(row[0] for row in seen.get("failed", [])),
        pending=frozenset(row[0] for row in seen.get("pending", [])),
        armed="armed" in seen,
        busy="busy" in seen,
        addresses=tuple((row[0], row[1]) for row in seen.get("address", [])),
        listening=frozenset(row[0] for row in seen.get("listening", [])),
        certificates={row[0]: row[1] for row in seen.get("certificate", [])},
    )
