"""Thousands of domains on a Knot and an Unbound of our own, on loopback; a tenth of the domains are broken."""

import base64
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ZONE = "bench.example"
REVERSE = "100.51.198.in-addr.arpa"
SELECTORS = ("s1", "s2")
EXCHANGES = 50
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penguin-bench"
PACKAGES = ("unbound", "libprotobuf-c1", "libpython3.11", "libhiredis0.14", "libevent-2.1-7", "libnghttp2-14")
KNOT = """\
server:
    rundir: "{folder}"
    listen: "127.0.0.1@{port}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
zone:
  - domain: {zone}
    storage: "{folder}"
    file: "zone"
    zonefile-load: whole
    journal-content: none
  - domain: {reverse}
    storage: "{folder}"
    file: "reverse"
    zonefile-load: whole
    journal-content: none
  - domain: .
    storage: "{folder}"
    file: "root"
    zonefile-load: whole
    journal-content: none
"""
UNBOUND = """\
server:
    interface: 127.0.0.1@{port}
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
    directory: "{folder}"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: "{folder}/unbound.log"
    num-threads: 1
    outgoing-range: 900
    num-queries-per-thread: 900
    module-config: "iterator"
    local-zone: "100.51.198.in-addr.arpa." nodefault
    msg-cache-size: 128m
    rrset-cache-size: 256m
remote-control:
    control-enable: no
stub-zone:
    name: "."
    stub-addr: 127.0.0.1@{authority}
stub-zone:
    name: "{zone}"
    stub-addr: 127.0.0.1@{authority}
stub-zone:
    name: "{reverse}"
    stub-addr: 127.0.0.1@{authority}
"""


@dataclass(frozen=True)
class World:
    resolver: int  # ports
    authority: int
    domains: tuple[str, ...]
    broken: frozenset[str]


def domain_names(count: int) -> tuple[str, ...]:
    return tuple(f"d{n}.{ZONE}" for n in range(count))


def is_broken(number: int) -> bool:
    return number % 10 == 7


def domain_lines(number: int, rng: random.Random) -> list[str]:
    """The records of one domain, relative to the zone; include trees are nobody else's."""
    d, fault = f"d{number}", (number // 10) % 8 if is_broken(number) else -1
    key = base64.b64encode(
        bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100c1")
        + rng.randbytes(255)
        + bytes.fromhex("0203010001")
    ).decode()
    end = "-all" if fault != 4 else "+all"
    lines = {
        "mx": f"{d} MX 10 mx{number % EXCHANGES}",
        "spf": f'{d} TXT "v=spf1 mx include:_spf.{d}.{ZONE} {end}"',
        "spf1": f'_spf.{d} TXT "v=spf1 include:_a._spf.{d}.{ZONE} include:_b._spf.{d}.{ZONE} ?all"',
        "spf2": f'_a._spf.{d} TXT "v=spf1 ip4:198.51.100.{number % 250} a:mx1.{ZONE} ?all"',
        "spf3": f'_b._spf.{d} TXT "v=spf1 ip4:203.0.113.0/24 ?all"',
        "ed": f's1._domainkey.{d} TXT "v=DKIM1; k=ed25519; p={base64.b64encode(rng.randbytes(32)).decode()}"',
        "rsa": f's2._domainkey.{d} TXT "v=DKIM1; k=rsa; p={key[:200]}" "{key[200:]}"',
        "dmarc": f'_dmarc.{d} TXT "v=DMARC1; p=quarantine; rua=mailto:r@{d}.{ZONE}"',
        "sts": f'_mta-sts.{d} TXT "v=STSv1; id=20261101000000"',
        "tls": f'_smtp._tls.{d} TXT "v=TLSRPTv1; rua=mailto:t@{d}.{ZONE}"',
    }
    match fault:
        case 0:
            del lines["mx"]
        case 1:
            lines["again"] = f'{d} TXT "v=spf1 -all"'
        case 2:
            lines["spf3"] = f'_b._spf.{d} TXT "v=spf1 include:_spf.{d}.{ZONE} -all"'
        case 3:
            del lines["spf2"]
        case 5:
            del lines["dmarc"]
        case 6:
            lines["dmarc"] = f'_dmarc.{d} TXT "v=DMARC1; p=maybe"'
        case 7:
            lines["rsa"] = f's2._domainkey.{d} TXT "v=DKIM1; k=rsa; p={key[:100]}"'
        case _:
            pass
    return list(lines.values())


def questions(count: int) -> list[str]:
    """The questions that a survey asks, for dnsperf."""
    return [
        f"{owner}d{n}.{ZONE} {rtype}"
        for n in range(count)
        for owner, rtype in (
            ("", "MX"), ("", "TXT"), ("_spf.", "TXT"), ("_a._spf.", "TXT"), ("_b._spf.", "TXT"),
            ("s1._domainkey.", "TXT"), ("s2._domainkey.", "TXT"), ("_dmarc.", "TXT"), ("_mta-sts.", "TXT"),
            ("_smtp._tls.", "TXT"),
        )
    ] + [f"mx{n}.{ZONE} A" for n in range(EXCHANGES)]  # fmt: skip


def write_zones(folder: Path, count: int) -> None:
    rng = random.Random(1)
    head = "$TTL 3600\n@ SOA ns hostmaster 1 3600 600 864000 300\n@ NS ns.bench.example.\n"
    with (folder / "zone").open("w") as out:
        out.write(f"$ORIGIN {ZONE}.\n{head}ns A 127.0.0.1\n")
        out.writelines(f"mx{n} A 198.51.100.{n}\n" for n in range(EXCHANGES))
        for n in range(count):
            out.write("\n".join(domain_lines(n, rng)) + "\n")
    # A domain without a record is looked for above itself, up to the root: nothing of that may leave for the Internet.
    (folder / "root").write_text(f"$ORIGIN .\n{head.replace('ns hostmaster', 'ns.bench.example. a.example.')}")
    (folder / "reverse").write_text(
        f"$ORIGIN {REVERSE}.\n{head}" + "".join(f"{n} PTR mx{n}.{ZONE}.\n" for n in range(EXCHANGES))
    )


def unbound() -> tuple[str, dict[str, str]]:
    """An installed Unbound, else Debian's packages unpacked beside the benchmark's cache: nothing is started."""
    if found := shutil.which("unbound", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found, {}
    root = CACHE / "unbound"
    if not (root / "usr/sbin/unbound").exists():
        root.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES:
            subprocess.run(["apt-get", "download", package], cwd=root, check=False, capture_output=True)
        for deb in root.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)
    return str(root / "usr/sbin/unbound"), {"LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def child(*words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        words, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def world(folder: Path, count: int) -> Iterator[World]:
    write_zones(folder, count)
    authority, resolver = free_port(), free_port()
    (folder / "knot.conf").write_text(KNOT.format(folder=folder, port=authority, zone=ZONE, reverse=REVERSE))
    (folder / "unbound.conf").write_text(
        UNBOUND.format(folder=folder, port=resolver, authority=authority, zone=ZONE, reverse=REVERSE)
    )
    program, env = unbound()
    names = domain_names(count)
    with ExitStack() as stack:
        stack.enter_context(
            child(shutil.which("knotd", path="/usr/sbin:/usr/bin") or "knotd", "-c", f"{folder}/knot.conf")
        )
        answers(authority)
        stack.enter_context(child(program, "-d", "-c", f"{folder}/unbound.conf", env=env))
        answers(resolver)
        yield World(resolver, authority, names, frozenset(name for n, name in enumerate(names) if is_broken(n)))


def answers(port: int) -> None:
    """Wait until a server gives an answer that is no error."""
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\3mx1\5bench\7example\0" + b"\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.2)
        for _ in range(300):
            try:
                one.sendto(query, ("127.0.0.1", port))
                if one.recv(512)[3] & 0x0F == 0:
                    return
            except OSError:
                pass
            time.sleep(0.1)
    raise RuntimeError(f"nothing answers on port {port}")
