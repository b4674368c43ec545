"""A Prefect server out of reach is one sentence and exit 7, before anything is written."""

import asyncio

import pytest
import typer
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.commands.server import ensure_server
from flows.commands.terminal import Exit
from tests.support.sshd import free_port


def test_a_server_that_does_not_answer_is_named_with_its_cure(monkeypatch, capsys) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with (
        temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(typer.Exit) as ended,
    ):
        asyncio.run(ensure_server())
    assert ended.value.exit_code == Exit.UNAVAILABLE
    assert capsys.readouterr().err.strip() == (
        f"no Prefect server answers at {url}; start it with python -m flows serve, or unset PREFECT_API_URL"
    )


def test_without_a_server_named_nothing_is_asked(monkeypatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    asyncio.run(ensure_server())
