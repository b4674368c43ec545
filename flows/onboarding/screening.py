"""Screen addresses before they are used: a listed one is left alone, of an unknown one a person decides."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from flows.blocklists.lists import screened
from flows.resources import Resources
from flows.runs import actor
from sql import address_screenings, infrastructure_events
from sql.address_screenings import Screening
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.vps_instances import Instance


async def sift(r: Resources, run: Run, instance: Instance, addresses: Sequence[IPv4Address]) -> list[Screening]:
    """What the lists say of each, just now, and whether somebody has accepted what cannot be known."""
    verdicts = await screened(r, [str(address) for address in addresses])
    sifted: list[Screening] = []
    async with as_orchestrator(r.pool) as conn:
        for address in addresses:
            verdict = verdicts[str(address)]
            row = await address_screenings.note_screening(
                conn, tenant_id=run.tenant_id, vps_instance_id=instance.id, ip_address=address, verdict=verdict.truth,
                fix=verdict.fix, found=verdict.found,
            )  # fmt: skip
            sifted.append(row)
            await infrastructure_events.record_event(
                conn, tenant_id=run.tenant_id, subject_type="ip", subject_id=str(address), event="address_screened",
                to_status=verdict.truth, reason=verdict.reason, actor=actor(run), flow_run_id=run.flow_run_id,
                details={"found": list(verdict.found), "accepted_by": row.accepted_by},
            )  # fmt: skip
    return sifted


def told(run: Run, screening: Screening) -> str:
    """Why an address is not used, and what ends that."""
    if screening.verdict == "fail":
        return f"{screening.ip_address} is listed and is not used ({screening.fix})"
    return (
        f"{screening.ip_address} is not used yet: {screening.fix}; or take the risk: python -m flows addresses accept"
        f" {screening.ip_address} --tenant {run.tenant_uuid}"
    )
