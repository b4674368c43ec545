"""Desired against facts: the changes that are still to be made, in order."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from flows.policy.convergence.facts import Facts
from flows.policy.convergence.nouns import Change, Component, Condition, Desired, File, Unit

SYSTEMD_FILES = "/etc/systemd/system/"
ENABLED = frozenset({"enabled", "static", "alias", "indirect", "generated"})
SHOWN = 6  # names in a summary before the rest is counted


def plan(desired: Desired, facts: Facts) -> tuple[Change, ...]:
    """What has to happen for the host to be as desired; empty when it is. Applied twice it does no harm."""
    changes = [_packages(desired, facts), *(_component(component, facts) for component in desired.components)]
    wanted = tuple(change for change in changes if change is not None)
    if facts.armed and not any(change.armed for change in wanted):
        wanted = (*wanted, Change("confirm the armed firewall and sshd", "confirm"))
    return wanted


def needs_confirmation(changes: Iterable[Change]) -> bool:
    """Whether the host undoes part of this by itself unless it is confirmed from a second connection."""
    return any(change.armed for change in changes)


def _packages(desired: Desired, facts: Facts) -> Change | None:
    missing = tuple(name for name in desired.packages if name not in facts.packages)
    if not missing and not facts.dpkg_interrupted:
        return None
    answers = [f"answer {shlex.quote(line)}" for line in desired.debconf]
    install = " ".join(["packages", *(missing or desired.packages)])
    script = "\n".join([*answers, *map(_cured, desired.ground), install])
    cause = f"install {_listed(missing)}" if missing else "finish an interrupted installation"
    return Change(f"packages: {cause}", script)


@dataclass(frozen=True, slots=True)
class _Todo:
    """What of one component is not as desired."""

    files: tuple[File, ...]
    gone: tuple[str, ...]
    broken: tuple[Condition, ...]
    units: tuple[Unit, ...]
    silent: tuple[str, ...]  # ports where nobody listens
    resumed: bool  # a dead run left it half done: nobody knows how far it came

    @property
    def written(self) -> bool:
        """Whether anything on disk changes, or may have changed in a run that died."""
        return bool(self.files or self.gone or self.resumed)

    @property
    def summary(self) -> str:
        names = (*(file.path for file in self.files), *self.gone, *(condition.key for condition in self.broken))
        return _listed((*names, *(unit.name for unit in self.units), *self.silent)) + (
            " (resumed)" if self.resumed else ""
        )


def _todo(component: Component, facts: Facts) -> _Todo | None:
    conditions = (*component.before, *component.after)
    todo = _Todo(
        files=tuple(file for file in component.files if not _is_there(file, facts)),
        gone=tuple(path for path in component.gone if path in facts.present),
        broken=tuple(c for c in conditions if f"{component.name}/{c.key}" not in facts.holds),
        units=tuple(unit for unit in component.units if not _stands(unit, facts)),
        silent=tuple(port for port in component.ports if port not in facts.listening),
        resumed=component.name in facts.pending,
    )
    if not (todo.written or todo.broken or todo.units or todo.silent):
        return None
    return todo


def _component(component: Component, facts: Facts) -> Change | None:
    todo = _todo(component, facts)
    if todo is None:
        return None
    # Every condition is asked again: the cure of one, or a file, may have broken another.
    opening, closing = ("armed_component", "armed_complete") if component.armed else ("component", "complete")
    lines = [
        f"{opening} {component.name}",
        *map(_cured, component.before),
        *_written(component, todo),
        *_services(component, todo, facts),
        *map(_cured, component.after),
        closing,
    ]
    return Change(f"{component.name}: {todo.summary}", "\n".join(lines), todo.files, component.armed)


def _written(component: Component, todo: _Todo) -> list[str]:
    lines = [" ".join(["put", *(file.path for file in todo.files)])] if todo.files else []
    lines += [" ".join(["drop", *todo.gone])] if todo.gone else []
    lines += _read_anew(component, todo)
    if component.check and todo.written:
        lines.append(f"checked {shlex.quote(component.check)}")
    return lines


def _read_anew(component: Component, todo: _Todo) -> list[str]:
    """A reload of systemd only where it holds something old of these units: it runs every generator again."""
    fresh = [file.path.removeprefix(SYSTEMD_FILES) for file in todo.files if file.path.startswith(SYSTEMD_FILES)]
    if todo.resumed or any("/" in name for name in fresh):  # who knows what was written, or a drop-in
        return ["systemctl daemon-reload"]
    if not fresh:
        return []
    single = (name for name in fresh if "@." not in name)  # of a template only its instances can be asked about
    return [" ".join(["read_anew", *dict.fromkeys((*single, *(_full(unit.asked) for unit in component.units)))])]


def _services(component: Component, todo: _Todo, facts: Facts) -> list[str]:
    """Off first, then on: a unit of the distribution may hold the port that ours wants."""
    moved = todo.written or any(condition.settles for condition in todo.broken)
    on = [unit for unit in component.units if unit.active]
    runs = any(_is_active(unit, facts) for unit in on)
    restart = bool(todo.silent) or (moved and (todo.resumed or not runs or any(file.restart for file in todo.files)))
    lines = [f"unit_off {unit.name}" for unit in component.units if not unit.active]
    lines += [f"unit_on {unit.name} {unit.asked} {'restart' if restart else 'start'}" for unit in on]
    if component.settle and moved and not (restart and on):
        lines.append(f"settled {shlex.quote(component.settle)}")
    return [*lines, *(f"listening {port}" for port in component.ports)]


def _cured(condition: Condition) -> str:
    return " ".join(["cured", *map(shlex.quote, (condition.key, condition.test, condition.cure))])


def _is_there(file: File, facts: Facts) -> bool:
    found = facts.files.get(file.path)
    return (
        found is not None
        and found.kind.startswith("regular")
        and (found.mode, found.owner) == (file.mode, file.owner)
        and found.sha256 == sha256(file.content).hexdigest()
    )


def _is_active(unit: Unit, facts: Facts) -> bool:
    asked = facts.units.get(_full(unit.asked))
    return asked is not None and asked.active == "active"


def _stands(unit: Unit, facts: Facts) -> bool:
    named = facts.units.get(_full(unit.name))
    if named is None or not unit.active:
        return not unit.active and (named is None or (named.active != "active" and named.enabled != "enabled"))
    enabled = not unit.enabled or named.enabled in ENABLED
    return enabled and not named.stale and _is_active(unit, facts)


def _full(name: str) -> str:
    return name if "." in name.rsplit("/", 1)[-1] else f"{name}.service"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
