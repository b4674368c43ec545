"""P9, its second half: tenants who come at once beside one who comes alone, and what the processes weigh meanwhile.

All are started over Prefect's API and run by one `serve`, on bare hosts. TENANTS says how many come at once. The CPU
seconds tell what bounds them: ours are those of `serve` with all it started; the machine's hold the hosts' apt as well.
"""

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from sandbox.backend import Backend
from sandbox.product import Product
from sandbox.state import State
from sandbox.world import World

TENANTS = int(os.environ.get("TENANTS", "10"))
WORLD = "many"
LONGEST_SECONDS = 3600
MIB = 1024
TICKS = os.sysconf("SC_CLK_TCK")
# Prefect lets one process run five flows at once; all are to be at work.
SETTINGS = {"PENGUINMAILS_HOSTWINDS__MAX_CREATES_PER_DAY": "100", "PREFECT_RUNNER_PROCESS_LIMIT": str(TENANTS + 5)}


def main() -> None:
    World.down_named(WORLD, say=lambda _: None)
    World.up(WORLD, say=lambda _: None)
    try:
        world = World.attach(State(WORLD).folder)
        product = Product(world, settings=SETTINGS)
        with product.serving() as serving:
            alone, of_one, _ = journey(world, product, ["alone"], serving.pid)
            together, of_all, heaviest = journey(world, product, [f"tenant{n}" for n in range(TENANTS)], serving.pid)
        print(f"P9  load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, bare hosts, trigger to active, seconds")
        print(f"P9  one tenant alone   {alone:8.1f}   {of_one}")
        print(f"P9  {TENANTS} at once        {together:8.1f}   {of_all}   {together / alone:.2f} x one")
        for name, kib in sorted(heaviest.items()):
            print(f"P9  {name:<18} {kib / MIB:8.0f} MiB resident at the most")
    finally:
        World.down_named(WORLD, say=lambda _: None)


@dataclass(frozen=True)
class Cpu:
    """CPU seconds: of `serve` and all it started, and of the whole machine, whoever else is at work there."""

    ours: float
    machine: float

    @classmethod
    def until_now(cls, serving: int) -> Self:
        """Since `serve` began, and since the machine did."""
        ours = [tick for pid in family(serving) for tick in read(f"/proc/{pid}/stat").rpartition(")")[2].split()[11:15]]
        busy = read("/proc/stat").split()[1:9]
        del busy[3:5]  # idle, and waiting for a disk
        return cls(sum(map(int, ours)) / TICKS, sum(map(int, busy)) / TICKS)

    def __sub__(self, before: Self) -> Self:
        """What was spent in between."""
        return replace(self, ours=self.ours - before.ours, machine=self.machine - before.machine)

    def __str__(self) -> str:
        """For the table."""
        return f"CPU: ours {self.ours:.0f} of {self.machine:.0f}"


def journey(world: World, product: Product, names: list[str], serving: int) -> tuple[float, Cpu, dict[str, int]]:
    """Seconds from the first trigger until the last tenant is active, their CPU, and the most each kind held."""
    backend = Backend(product.dsn())
    tenants = [signed_up(world, product, backend, f"{name}.example") for name in names]
    began, spent = time.monotonic(), Cpu.until_now(serving)
    for tenant in tenants:
        trigger(world, product, tenant)
    heaviest: dict[str, int] = {}
    while (open_runs := not_succeeded(backend, tenants)) and time.monotonic() - began < LONGEST_SECONDS:
        for name, kib in resident(serving).items():
            heaviest[name] = max(kib, heaviest.get(name, 0))
        if stuck := [run for run in open_runs if run["status"] in {"failed", "rejected"}]:
            raise SystemExit(f"a run ended badly: {stuck[0]}")
        time.sleep(1)
    if open_runs:
        raise SystemExit(f"not active after {LONGEST_SECONDS} s: {open_runs}")
    return time.monotonic() - began, Cpu.until_now(serving) - spent, heaviest


def signed_up(world: World, product: Product, backend: Backend, domain: str) -> str:
    world.add_zone(domain)
    tenant = backend.sign_up(domain, domain, ["anna", "bert"])
    tsig = world.info["tsig"]
    product.run("secret", "put", f"dns/{domain}", "--tenant", tenant, stdin=tsig["secret"])
    backend.use_dns_host(domain, server=world.info["authoritative"], key_name=tsig["name"], secret_path=f"dns/{domain}")
    return tenant


def trigger(world: World, product: Product, tenant: str) -> None:
    deployment = ask(world, product, "/deployments/name/onboard_tenant/on-signup")["id"]
    ask(world, product, f"/deployments/{deployment}/create_flow_run", parameters={"tenant_id": tenant})


def ask(world: World, product: Product, path: str, **body: Any) -> Any:
    request = Request(
        f"{product.environment['PREFECT_API_URL']}{path}", json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with world.enter_control(), urlopen(request, timeout=60) as reply:
        return json.load(reply)


def not_succeeded(backend: Backend, tenants: list[str]) -> list[dict[str, Any]]:
    return backend.rows(
        "SELECT t.tenant_id, r.status, r.wait_reason, r.wait_detail FROM tenants t"
        " LEFT JOIN provisioning_runs r ON r.tenant_id = t.id"
        " WHERE t.tenant_id = ANY(%s::uuid[]) AND r.status IS DISTINCT FROM 'succeeded'",
        tenants,
    )


def resident(serving: int) -> dict[str, int]:
    """KiB by kind: the Prefect server, the process that serves, and all runs together."""
    found = {"server": 0, "serve": 0, "runs together": 0}
    for pid in family(serving):
        words = read(f"/proc/{pid}/cmdline").replace("\0", " ")
        kind = "server" if "prefect server" in words else "serve" if "flows serve" in words else "runs together"
        pages = read(f"/proc/{pid}/status").partition("VmRSS:")[2].split()
        found[kind] += int(pages[0]) if pages else 0
    return found


def family(pid: int) -> list[int]:
    children = read(f"/proc/{pid}/task/{pid}/children").split()
    return [pid, *(deeper for child in children for deeper in family(int(child)))]


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
