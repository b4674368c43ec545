"""One real Prefect server a session, on SQLite, for flows that run in the test's own process and in its children."""

# ruff: noqa: PLC0415 - rings without flows need not wait for Prefect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from tests.support.prefect_tables import furnish
from tests.support.scratch import fast_place, scratch

DATABASE = "prefect-test.db"  # the harness's own name for it


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The server's address, also in the environment for processes that a test starts.

    PENGUINMAILS_TEST_PREFECT_API names a server that runs already: whoever starts pytest many times waits for it once.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )
    from prefect.testing import utilities

    present = os.environ.get("PENGUINMAILS_TEST_PREFECT_API")
    there: AbstractContextManager[object] = (
        temporary_settings({PREFECT_API_URL: present})
        if present
        else utilities.prefect_test_harness(server_startup_timeout=180)
    )
    quick = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(utilities, "mkdtemp", furnished_folder)
        # Its table of task runs is read by nobody here: steps leave their trace in our own.
        patched.setenv("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED", "false")
        with there, temporary_settings(quick):
            url = str(PREFECT_API_URL.value())
            os.environ |= {"PREFECT_API_URL": url, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
            yield url
            del os.environ["PREFECT_API_URL"]


def furnished_folder() -> str:
    """Where Prefect's harness will have its database, with the tables there before it begins."""
    made = scratch("harness", fast_place())
    furnish(made / DATABASE)
    return str(made)
