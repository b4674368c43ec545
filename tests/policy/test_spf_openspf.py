"""The openspf suite for RFC 7208, read from the source distribution of pyspf; it is fetched once and never copied."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.policy.spf import check_host

SOURCE = "pyspf-2.0.14.tar.gz"
SHA256 = "57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186"
SUITE = "pyspf-2.0.14/test/rfc7208-tests.yml"
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "penguinmails-tests"


@dataclass(frozen=True)
class Said:
    outcome: str
    values: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def suite() -> str:
    source = FOLDER / SOURCE
    if not source.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        name, _, version = SOURCE.removesuffix(".tar.gz").rpartition("-")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "-d", str(FOLDER), f"{name}=={version}"], check=True, timeout=300)
    assert hashlib.sha256(source.read_bytes()).hexdigest() == SHA256
    with tarfile.open(source) as archive:
        member = archive.extractfile(SUITE)
        assert member is not None
        return member.read().decode()


def zone_of(records: Mapping[str, list[Any]]):
    """A look-up over the suite's zone, where an SPF entry stands for TXT as well unless TXT is given."""
    zone = {name.lower().rstrip("."): entries_of(entries) for name, entries in records.items()}

    async def look(name: str, rtype: str) -> Said:
        name = name.lower().rstrip(".")
        for _ in range(8):
            entries = zone.get(name, {})
            if entries.get(rtype):
                return Said("found", tuple(entries[rtype]))
            if "CNAME" not in entries:
                return Said("timeout" if "TIMEOUT" in entries else "absent")
            name = entries["CNAME"][0].lower().rstrip(".")
        return Said("broken")

    return look


def entries_of(entries: list[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        for rtype, value in {entry: ""}.items() if isinstance(entry, str) else entry.items():
            values = found.setdefault(rtype, [])
            if value != "NONE":
                values.append(text_of(rtype, value))
    if "TXT" not in found and "SPF" in found:
        found["TXT"] = found["SPF"]
    return found


def text_of(rtype: str, value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) if rtype == "MX" else "".join(value)
    return value


async def test_every_case_of_the_suite_comes_out_as_it_says(suite):
    wrong: list[str] = []
    seen = 0
    for scenario in yaml.load_all(suite, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        look = zone_of(scenario["zonedata"])
        for name, case in scenario["tests"].items():
            seen += 1
            sender, helo = case["mailfrom"], case["helo"]
            domain = sender.rpartition("@")[2] or helo
            result = await check_host(ip_address(case["host"]), domain, look, sender=sender, helo=helo)
            explanation = result.explanation or "DEFAULT"
            allowed = [case["result"]] if isinstance(case["result"], str) else case["result"]
            if result.outcome not in allowed or case.get("explanation", explanation) != explanation:
                wrong.append(f"{name}: {case['result']} {case.get('explanation', '')}, got {result}")
    assert wrong == []
    assert seen == len(re.findall(r"(?m)^ +result:", suite)) > 200
