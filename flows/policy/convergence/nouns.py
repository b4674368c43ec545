"""What a host should look like: packages, and components made of files, conditions and units."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PATH = re.compile(r"/[A-Za-z0-9@._/+-]+")
OWNER = re.compile(r"[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*")
KEY = re.compile(r"[a-z0-9][a-z0-9._@-]*")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")


@dataclass(frozen=True, slots=True)
class File:
    """One file, whole. `content` may be a secret: it never enters a script, a summary or a repr."""

    path: str
    content: bytes = field(repr=False)
    mode: str = "644"  # octal digits as stat prints them
    owner: str = "root:root"
    restart: bool = False  # a reload is not enough for the service to take this file

    def __post_init__(self) -> None:
        """Refuse what no host could take."""
        if not PATH.fullmatch(self.path) or ".." in self.path:
            raise ValueError(f"not a path this program writes: {self.path!r}")
        if not OWNER.fullmatch(self.owner):
            raise ValueError(f"{self.path}: owner must be user:group, got {self.owner!r}")
        if not re.fullmatch(r"[0-7]{3,4}", self.mode):
            raise ValueError(f"{self.path}: mode must be octal digits, got {self.mode!r}")


@dataclass(frozen=True, slots=True)
class Condition:
    """Something other than a file that must hold. `test` exits 0 when it does; `cure` makes it hold.

    Both are POSIX shell without secrets. `settles` is True where the cure must also tell the services.
    """

    key: str
    test: str
    cure: str
    settles: bool = False

    def __post_init__(self) -> None:
        """Refuse what no host could take."""
        if not KEY.fullmatch(self.key):
            raise ValueError(f"a condition's key is lower case without blanks, got {self.key!r}")


@dataclass(frozen=True, slots=True)
class Unit:
    """One systemd unit. `probe` is the unit to ask where `name` itself says nothing (Debian's meta units)."""

    name: str
    enabled: bool = True
    active: bool = True
    probe: str = ""

    @property
    def asked(self) -> str:
        """The unit whose ActiveState tells the truth."""
        return self.probe or self.name


@dataclass(frozen=True, slots=True)
class Component:
    """Files, conditions and units that stand or fall together.

    Order of work: conditions of `before`, files, `check` (failing puts the old files back), `settle` or a restart,
    conditions of `after`, units. An armed component is undone by the host itself unless it is confirmed from a
    second connection.
    """

    name: str
    files: tuple[File, ...] = ()
    before: tuple[Condition, ...] = ()
    after: tuple[Condition, ...] = ()
    gone: tuple[str, ...] = ()  # paths that must not exist
    units: tuple[Unit, ...] = ()
    check: str = ""  # shell; validates what was written before any service reads it
    ports: tuple[str, ...] = ()  # address:port where it listens: an active unit alone proves nothing
    settle: str = ""  # shell; makes running services take the files without dropping a connection
    armed: bool = False

    def __post_init__(self) -> None:
        """Refuse what no host could take."""
        if not KEY.fullmatch(self.name):
            raise ValueError(f"a component's name is lower case without blanks, got {self.name!r}")


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole of what one plan is responsible for on a host."""

    packages: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    debconf: tuple[str, ...] = ()  # answers given to Debian's questions before a package is unpacked
    ground: tuple[Condition, ...] = ()  # what packages are to find when they are installed; asked for nothing else

    def __post_init__(self) -> None:
        """Refuse what no host could take."""
        for name in self.packages:
            if not PACKAGE.fullmatch(name):
                raise ValueError(f"not a Debian package name: {name!r}")
        names = [component.name for component in self.components]
        paths = [file.path for component in self.components for file in component.files]
        for twice in (names, paths):
            if len(set(twice)) != len(twice):
                raise ValueError(f"named twice: {sorted(name for name in set(twice) if twice.count(name) > 1)}")

    @property
    def files(self) -> tuple[File, ...]:
        """Every file of every component."""
        return tuple(file for component in self.components for file in component.files)

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """Every condition under `component/key`, the name it carries in the facts."""
        return {
            f"{component.name}/{condition.key}": condition
            for component in self.components
            for condition in (*component.before, *component.after)
        }

    @property
    def units(self) -> tuple[Unit, ...]:
        """Every unit of every component."""
        return tuple(unit for component in self.components for unit in component.units)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do on the host, whole and safe to repeat."""

    summary: str  # one line without secrets
    script: str  # POSIX shell over the functions of host_files/apply.sh; without secrets
    files: tuple[File, ...] = field(default=(), repr=False)
    armed: bool = False
