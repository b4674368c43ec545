"""What a sandbox world could leave behind on a machine."""

from pathlib import Path

from sandbox.state import state_dir


def leftovers(world: str) -> list[str]:
    """Name every namespace, mount, process and folder that bears a world's prefix."""
    prefix = f"pm{world}-"
    found = [f"namespace {path.name}" for path in Path("/run/netns").glob(f"{prefix}*")]
    found += [f"resolver file {path}" for path in Path("/etc/netns").glob(f"{prefix}*")]
    found += [f"propagation {path}" for path in Path("/run/systemd/nspawn/propagate").glob(f"{prefix}*")]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if f"/{world}/" in line and "penguinmails-sandbox" in line]
    found += [f"process {words}" for words in command_lines() if prefix in words or f"-sandbox/{world}/" in words]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").rglob(f"*{prefix}*")]
    state = state_dir(world)
    return found + ([f"state {state}"] if state.exists() else [])


def command_lines() -> list[str]:
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it ended while we looked
    return lines
