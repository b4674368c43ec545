"""What every ring shares: real databases, a clean environment, and nothing that phones home."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports Prefect, which reads its settings once. A developer's own settings never reach a test.
for name in [name for name in os.environ if name.startswith(("PENGUINMAILS_", "PREFECT_"))]:
    if not name.startswith(("PENGUINMAILS_SANDBOX__", "PENGUINMAILS_TEST_")):
        del os.environ[name]
PREFECT_HOME = Path(tempfile.mkdtemp(prefix="penguin-prefect-"))
os.environ |= {
    "PREFECT_HOME": str(PREFECT_HOME),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
}

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.prefect_server",
    "tests.support.emulator",
    "tests.support.product",
]


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Prefect's folder goes with the session."""
    yield
    shutil.rmtree(PREFECT_HOME, ignore_errors=True)
