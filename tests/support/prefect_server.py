"""One real Prefect server a session, on SQLite, for flows that run in the test's own process and in its children."""

# ruff: noqa: PLC0415 - rings without flows need not wait for Prefect
import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The server's address, also in the environment for processes that a test starts."""
    # Imported here: rings without flows need not wait for Prefect.
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    from flows.automations import ensure_limit

    quick = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(quick):
        url = PREFECT_API_URL.value()
        os.environ |= {"PREFECT_API_URL": url, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
        with ThreadPoolExecutor(max_workers=1) as thread:  # in a thread of its own: the session's loop is left alone
            thread.submit(asyncio.run, limit_at(url, ensure_limit)).result()
        yield url
        del os.environ["PREFECT_API_URL"]


async def limit_at(url, ensure_limit) -> None:
    """Make the limit there; a new thread does not inherit the harness's settings."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        await ensure_limit()
