"""Builds the trees that hosts boot from, and keeps them in a cache that no checkout holds."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.commands import run
from sandbox.identity import in_user_namespace
from sandbox.state import state_root

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    _Build = Callable[[Path], None]

SUITE = "bookworm"
RECIPES = Path(__file__).parent / "images"
HOST_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
LAYERS = ("dns", "mail", "receiver")
KEPT_BUILDS = 2
STALE_AFTER_DAYS = 14  # security updates of the suite reach the hosts by a new build
BUILD_TIMEOUT_SECONDS = 900.0
RECIPE_VERSION = "1"  # raise it when this file changes what a tree holds


@dataclass(frozen=True, slots=True)
class Images:
    """Finished builds: the base tree, one overlay layer per kind of host, and the package repository."""

    base: Path
    layers: dict[str, Path]
    repository: Path

    def lower(self, image: str) -> str:
        """Name the overlay's lower directories for an image, topmost first; `bare` is the base alone."""
        return str(self.base) if image == "bare" else f"{self.layers[image]}:{self.base}"


def cache_dir() -> Path:
    """Where builds are kept: PENGUINMAILS_SANDBOX__CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get("PENGUINMAILS_SANDBOX__CACHE_DIR")
    fallback = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penguinmails-sandbox"
    return Path(chosen) if chosen else fallback


def ensure_images(cache: Path | None = None) -> Images:
    """Return finished builds, making what the cache lacks or holds only in an old form; one builder at a time."""
    where = cache or cache_dir()
    where.mkdir(parents=True, exist_ok=True)
    if in_user_namespace():
        where.chmod(0o700)  # a tree holds programs that run as their owner, who is an ordinary user here
    with _builders_turn(where):
        base = _ensure_part(where, "base", [_recipe("base")], _build_base)
        wanted = sorted(
            {name for layer in LAYERS for name in packages(layer)} | set(_names(RECIPES / "extra-packages"))
        )
        repository = _ensure_part(
            where, "repository", [base.name, *wanted], lambda to: _build_repository(to, base, wanted)
        )
        layers = {
            layer: _ensure_part(
                where,
                layer,
                [repository.name, _recipe(layer)],
                lambda to, layer=layer: _build_layer(to, base / "tree", repository, layer),
            )
            / "tree"
            for layer in LAYERS
        }
        return Images(base / "tree", layers, repository)


def packages(image: str) -> tuple[str, ...]:
    """List the Debian packages that an image's recipe names."""
    return tuple(_names(RECIPES / image / "packages"))


def _names(listing: Path) -> Iterator[str]:
    for line in listing.read_text().splitlines():
        name = line.partition("#")[0].strip()
        if name:
            yield name


def _recipe(image: str) -> str:
    digest = hashlib.sha256()
    for path in sorted((RECIPES / image).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(RECIPES)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _builders_turn(cache: Path) -> Generator[None]:
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ensure_part(cache: Path, part: str, ingredients: Iterable[str], build: _Build) -> Path:
    architecture = run("dpkg", "--print-architecture").strip()
    # Marks of deleted files have other names in a user namespace.
    kind = ["user"] if in_user_namespace() else []
    recipe = "\0".join([SUITE, architecture, RECIPE_VERSION, *kind, part, *ingredients])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    fresh = [found for found in _builds(cache, f"{part}-{key}-") if _age_days(found) < STALE_AFTER_DAYS]
    if fresh:
        return fresh[-1]
    finished = cache / f"{part}-{key}-{int(time.time())}"
    partial = finished.with_name(finished.name + ".partial")
    for left_over in cache.glob(f"{part}-*.partial"):
        _discard_partial(left_over)
    partial.mkdir()
    print(f"building image part {part}", flush=True)
    build(partial)
    partial.rename(finished)
    _discard_superseded(cache, part)
    return finished


def _builds(cache: Path, prefix: str) -> list[Path]:
    found = [path for path in cache.glob(f"{prefix}*") if path.suffix != ".partial"]
    return sorted(found, key=_made_at)


def _made_at(build: Path) -> int:
    return int(build.name.rpartition("-")[2])


def _age_days(build: Path) -> float:
    return (time.time() - _made_at(build)) / 86400


def _discard_superseded(cache: Path, part: str) -> None:
    """Keep the newest builds of a part; while any world stands on this cache, keep them all: it may stand on these."""
    if f"{cache}/" in Path("/proc/self/mounts").read_text() or any(_worlds_on(cache)):
        return
    for superseded in _builds(cache, f"{part}-")[:-KEPT_BUILDS]:
        shutil.rmtree(superseded)


def _worlds_on(cache: Path) -> Iterator[Path]:
    """Find worlds that stand on a cache: those of a room have their mounts in there."""
    for kept in state_root().glob("*/world.json"):
        with contextlib.suppress(OSError):
            if f"{cache}/" in kept.read_text():
                yield kept


def _discard_partial(build: Path) -> None:
    """Remove what a builder left that died, mounts first."""
    mounted = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    for mount in sorted((point for point in mounted if point.startswith(f"{build}/")), reverse=True):
        run("umount", "--lazy", mount)
    shutil.rmtree(build, ignore_errors=True)


def _build_base(to: Path) -> None:
    sources = [str(HOST_SOURCES)] if _host_has_suite() else []
    wanted = ",".join(packages("base"))
    # The network of a build is the machine's, so a user namespace may not show its /sys.
    skipped = ["--skip=chroot/mount/sys"] if in_user_namespace() else []
    run(
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={wanted}", *skipped, SUITE),
        *(str(to / "tree"), *sources),
        timeout_seconds=BUILD_TIMEOUT_SECONDS,
    )
    tree = to / "tree"
    (to / "sources").mkdir()
    for listing in [tree / "etc/apt/sources.list", *(tree / "etc/apt/sources.list.d").iterdir()]:
        if listing.is_file():
            shutil.copy(listing, to / "sources" / listing.name)
    _set_up(tree, "base")


def _host_has_suite() -> bool:
    return HOST_SOURCES.is_file() and SUITE in HOST_SOURCES.read_text()


def _build_repository(to: Path, base: Path, wanted: Iterable[str]) -> None:
    with _overlay(base / "tree", to / "work") as tree:
        (tree / "etc/apt/sources.list").unlink()
        for listing in (base / "sources").iterdir():
            name = "sources.list" if listing.name == "sources.list" else f"sources.list.d/{listing.name}"
            shutil.copy(listing, tree / "etc/apt" / name)
        shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
        _in_tree(tree, "apt-get", "update", "-q")
        _in_tree(tree, "apt-get", "install", "-y", "-q", "--no-install-recommends", "--download-only", *wanted)
        (to / "pool").mkdir()
        for package in (tree / "var/cache/apt/archives").glob("*.deb"):
            shutil.move(package, to / "pool" / package.name)
    index = run("env", "-C", str(to), "dpkg-scanpackages", "--multiversion", "pool")
    (to / "Packages").write_text(index)
    shutil.rmtree(to / "work")


def _build_layer(to: Path, base: Path, repository: Path, layer: str) -> None:
    with _overlay(base, to / "work") as tree, _mounted("--bind", str(repository), tree / "srv/labrepo"):
        _install(tree, packages(layer))
        _set_up(tree, layer)
    (to / "work/up").rename(to / "tree")
    shutil.rmtree(to / "work")


def _install(tree: Path, names: Iterable[str]) -> None:
    no_starts = tree / "usr/sbin/policy-rc.d"
    no_starts.write_text("#!/bin/sh\nexit 101\n")
    no_starts.chmod(0o755)
    _in_tree(tree, "sh", "-c", "echo 'postfix postfix/main_mailer_type select Internet Site' | debconf-set-selections")
    _in_tree(tree, "apt-get", "update", "-q")
    _in_tree(tree, "apt-get", "install", "-y", "-q", "-o", "Dpkg::Options::=--force-unsafe-io", *names)
    _in_tree(tree, "apt-get", "clean")
    no_starts.unlink()


def _set_up(tree: Path, image: str) -> None:
    files = RECIPES / image / "files"
    if files.is_dir():
        shutil.copytree(files, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    script = tree / "root/set-up"
    shutil.copy(RECIPES / image / "setup.sh", script)
    _in_tree(tree, "sh", "/root/set-up")
    script.unlink()


def _in_tree(tree: Path, *words: str) -> None:
    # A user namespace binds what it was given as a whole only, and here nothing is shared with the machine.
    devices = "--rbind" if in_user_namespace() else "--bind"
    with _mounted("--bind", "/proc", tree / "proc"), _mounted(devices, "/dev", tree / "dev"):
        env = {
            **os.environ,
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        run("chroot", str(tree), *words, timeout_seconds=BUILD_TIMEOUT_SECONDS, env=env)


@contextlib.contextmanager
def _overlay(lower: Path, work: Path) -> Generator[Path]:
    for folder in ("up", "wk", "root"):
        (work / folder).mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={work}/up,workdir={work}/wk{overlay_marks()}"
    with _mounted("-t", "overlay", "-o", options, "overlay", work / "root") as root:
        yield root


def overlay_marks() -> str:
    """Mount option that lets an overlay mark deletions where only the machine's root may use `trusted` attributes."""
    return ",userxattr" if in_user_namespace() else ""


@contextlib.contextmanager
def _mounted(*arguments: str | Path) -> Generator[Path]:
    point = Path(arguments[-1])
    run("mount", *map(str, arguments))
    try:
        yield point
    finally:
        run("umount", *(["--lazy"] if "--rbind" in arguments else []), str(point))
