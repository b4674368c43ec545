"""Facts of a host on which a wish has come true: the far end of every plan."""

from hashlib import sha256

from flows.policy.convergence import Desired, Facts, FileFact, UnitFact


def full(unit: str) -> str:
    return unit if "." in unit else f"{unit}.service"


def facts_as_wished(desired: Desired) -> Facts:
    """What the facts script would say of a host that is exactly as desired."""
    units = {
        full(name): UnitFact("active", "enabled", stale=False) for u in desired.units for name in (u.name, u.asked)
    }
    off = {full(unit.name): UnitFact("inactive", "masked", stale=False) for unit in desired.units if not unit.active}
    return Facts(
        state="running",
        packages=dict.fromkeys(desired.packages, "1.0"),
        files={
            file.path: FileFact(file.mode, file.owner, "regular file", sha256(file.content).hexdigest())
            for file in desired.files
        },
        units=units | off,
        holds=frozenset(desired.conditions),
        listening=frozenset(port for component in desired.components for port in component.ports),
    )
