"""Where the time of an onboarding went: boot, apt and mail in flight by the host's and the message's own stamps."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.backend import Backend
    from sandbox.world import World

Span = tuple[float, float]

BOOT = "systemctl show -p UserspaceTimestamp -p FinishTimestamp --timestamp=us+utc"
APT = "grep -hE '^(Start|End)-Date' /var/log/apt/history.log 2>/dev/null; date +%z"


def shares(world: World, backend: Backend, domain: str, took: float) -> list[str]:
    """Lines of a table: each step, then what was not ours, overlaps counted once, and what is left for us."""
    steps = step_spans(backend, domain)
    lines = [f"{ended - began:6.1f} s  {name}" for name, (began, ended) in steps.items()]
    host = f"s{backend.server_of(domain)['hostwind_id']}"
    spans = {
        "boot": boot_span(world, host),
        "apt": apt_spans(world, host),
        "mail in flight": mail_spans(backend, domain),
    }
    others = [span for found in spans.values() for span in found]
    lines += [
        f"{length(union(found)):6.1f} s  {name} (the host's or the message's own stamps)"
        for name, found in spans.items()
    ]
    own = took - length(union(others))
    return [*lines, f"{own:6.1f} s  of {took:.1f} s are our own: everything but these, overlaps once"]


def step_spans(backend: Backend, domain: str) -> dict[str, Span]:
    """Each step that ended, in order: from its first start to its end."""
    rows = backend.rows(
        "SELECT step_key, extract(epoch FROM started_at) AS began, extract(epoch FROM finished_at) AS ended"
        " FROM provisioning_steps WHERE run_id = (SELECT r.id FROM provisioning_runs r"
        " JOIN domains d USING (tenant_id) WHERE d.domain_name = %s ORDER BY r.created_at LIMIT 1) ORDER BY ordinal",
        domain,
    )
    return {row["step_key"]: (float(row["began"]), float(row["ended"])) for row in rows if row["ended"]}


def boot_span(world: World, host: str) -> list[Span]:
    """From the first of user space to the end of the boot."""
    _, out, _ = world.exec(host, BOOT)
    stamps = re.findall(r"=\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC", out.decode())
    times = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp() for stamp in stamps]
    return [(min(times), max(times))] if len(times) > 1 else []


def apt_spans(world: World, host: str) -> list[Span]:
    """Each transaction of apt; its log has whole seconds."""
    _, out, _ = world.exec(host, APT)
    stamps = re.findall(r"^(Start|End)-Date: (\S+)\s+(\S+)$", out.decode(), re.MULTILINE)
    times = [datetime.fromisoformat(f"{day} {hour}+00:00").timestamp() for _, day, hour in stamps]
    return list(zip(times[::2], times[1::2], strict=False))


def mail_spans(backend: Backend, domain: str) -> list[Span]:
    """From the host's Received stamp to the receiver's."""
    found: list[Span] = []
    for proof in backend.proofs(domain):
        received = message_from_bytes(bytes(proof["raw_message"] or b"")).get_all("Received", [])
        times = [parsedate_to_datetime(field.rpartition(";")[2].strip()).timestamp() for field in received]
        if len(times) > 1:
            found.append((min(times), max(times)))
    return found


def union(spans: Iterable[Span]) -> list[Span]:
    """The same stretch of time without overlaps."""
    merged: list[Span] = []
    for began, ended in sorted(spans):
        if merged and began <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
        else:
            merged.append((began, ended))
    return merged


def length(spans: Iterable[Span]) -> float:
    """Seconds in all."""
    return sum(ended - began for began, ended in spans)


def without(spans: Iterable[Span], others: Iterable[Span]) -> float:
    """Seconds of some spans that none of the others covers."""
    others = union(others)
    return length(union((*spans, *others))) - length(others)
