"""Runs one outside program, always with a time limit."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_TIMEOUT_SECONDS = 60.0


class CommandFailed(RuntimeError):
    """A program ended badly, ran out of time or is not installed; the text names it and quotes its last words."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a program left: exit code, output and complaints as bytes."""

    code: int
    out: bytes
    err: bytes


def attempt(
    *words: str,
    stdin: bytes = b"",
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a program whose failure the caller judges; raise CommandFailed only when it could not run to its end."""
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout_seconds, env=env, check=False)
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{words[0]}: no end within {timeout_seconds:g} s") from error
    except FileNotFoundError as error:
        raise CommandFailed(f"{words[0]}: not installed; see python -m sandbox doctor") from error
    return Result(done.returncode, done.stdout, done.stderr)


def run(
    *words: str,
    stdin: bytes = b"",
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program that must succeed and return its output; raise CommandFailed otherwise."""
    done = attempt(*words, stdin=stdin, timeout_seconds=timeout_seconds, env=env)
    if done.code:
        last_words = (done.err or done.out).decode(errors="replace").strip()[-1500:]
        raise CommandFailed(f"{' '.join(words)[:200]}: status {done.code}: {last_words}")
    return done.out.decode(errors="replace")


def start_for_good(words: Sequence[str], env: Mapping[str, str], *, stdin: int, out: int, err: int) -> int:
    """Start a program that outlives this process, in a session of its own; returns its number.

    Not subprocess.Popen: nobody here waits for it. It gets three descriptors and none of ours besides: a lock that the
    caller's caller holds would be held for as long as the program runs.
    """
    streams = [(os.POSIX_SPAWN_DUP2, given, number) for number, given in enumerate((stdin, out, err))]
    # Only what Python did not open: its own descriptors are closed by themselves. One that is gone by then is no error.
    inherited = (int(link.name) for link in Path("/proc/self/fd").iterdir())
    closed = [(os.POSIX_SPAWN_CLOSE, number) for number in inherited if number >= len(streams)]
    return os.posix_spawnp(words[0], list(words), env, file_actions=[*streams, *closed], setsid=True)
