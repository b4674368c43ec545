"""The product as its users start it: by command, in the control room, with settings in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.environment import settings_of
from sandbox.memory import keep_in_memory

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from sandbox.world import World

CHECKOUT = Path(__file__).parents[1]
API = "http://127.0.0.1:4200/api"
SERVING = "serving at"
START_LIMIT_SECONDS = 180.0
STOP_LIMIT_SECONDS = 60.0


class Product:
    """One installation beside a world: its database and its Prefect data live in the world's folder."""

    def __init__(self, world: World, *, name: str = "product", settings: Mapping[str, str] | None = None) -> None:
        """`settings` replace or add to those of the world."""
        self.world = world
        self.folder = Path(world.info["state_dir"]) / name
        if not self.folder.exists():
            self.folder.mkdir()
            keep_in_memory(self.folder)
        self.folder.chmod(0o755)  # the embedded server runs as a user of its own
        (self.folder / "tmp").mkdir(exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PENGUINMAILS_", "PREFECT_"))}
        self.environment: dict[str, str] = {
            **inherited,
            **settings_of(world.info),
            "PENGUINMAILS_DATABASE__EMBEDDED_DIR": str(self.folder / "postgres"),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": API,
            # Nobody else signs in a world, and each of Prefect's clients reads its authorities anew.
            "PREFECT_API_SSL_CERT_FILE": world.info["ca_file"],
            "PYTHONUNBUFFERED": "1",
            # Prefect keeps /tmp/runner_storage, which belongs to whoever came first, and leaves folders in it.
            "TMPDIR": str(self.folder / "tmp"),
            **(settings or {}),
        }

    def words(self, *words: str) -> list[str]:
        """Return the command that runs `python -m …` in the control room."""
        return [*self.world.network.control_words(), sys.executable, "-m", *words]

    def run(self, *words: str, stdin: str = "", timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run `python -m flows …` to its end."""
        return subprocess.run(
            self.words("flows", *words), cwd=CHECKOUT, env=self.environment, input=stdin, capture_output=True,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, *words: str, log: Path | None = None, **settings: str) -> subprocess.Popen[str]:
        """Start `python -m …` and return at once; its output goes to a file."""
        with (log or self.folder / "commands.log").open("a") as output:
            return subprocess.Popen(
                self.words(*words), cwd=CHECKOUT, env={**self.environment, **settings}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip

    @contextmanager
    def serving(self) -> Generator[subprocess.Popen[str]]:
        """Everything of single-machine mode for as long as this block lasts."""
        log = self.folder / "serve.log"
        log.write_text("")
        serving = self.start("flows", "serve", log=log)
        try:
            self._await_serving(serving, log)
            yield serving
        finally:
            end(serving)

    def _await_serving(self, serving: subprocess.Popen[str], log: Path) -> None:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while SERVING not in log.read_text():
            if serving.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"python -m flows serve did not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)

    def dsn(self) -> str:
        """Return how the back end reaches the tables."""
        found = self.run("database")
        if found.returncode != 0:
            raise RuntimeError(f"python -m flows database: {found.stderr.strip()}")
        return found.stdout.strip()

    def facts(self) -> dict[str, Any]:
        """Where this installation keeps things, for whoever looks for leaks."""
        return {"folder": str(self.folder), "environment": self.environment}


def end(process: subprocess.Popen[str]) -> None:
    """Ask a process of ours to stop, and insist when it does not."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
