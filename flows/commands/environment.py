"""The environment that Prefect is to find: it reads its settings once, when it is imported."""

import os
import sys

SERVER_ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P3D",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "2592000",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "providers,sql,flows",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
"""No analytics, three days of events, thirty days of runs, heartbeats that make a lost process visible."""


def prepare_environment() -> None:
    """Defaults for every command, before Prefect is imported: no analytics, no prompts, no log lines between ours."""
    for key, value in SERVER_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if sys.argv[1:2] != ["serve"]:  # there its log is what is looked at
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
