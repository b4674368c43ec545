"""The last net under the logs: shapes and known values, in messages, arguments and tracebacks, on every handler."""

import io
import logging
from collections.abc import Iterator

import pytest

from flows.redact import MASK, Redactor, guard_handlers, redactor

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARYkey\nmore\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        "login with password=CANARY1 refused",
        "form action=get_instances&API=CANARY2&x=1",
        '{"password": "CANARY3", "user": "root"}',
        "Authorization: CANARY4",
        "authorization: Basic CANARY7",
        '{"Authorization": "Bearer CANARY8"}',
        "passwd: CANARY5",
        f"read {KEY} from disk",
        "-----BEGIN RSA PRIVATE KEY-----\nCANARY cut off",
        "secret = 'CANARY6'",
        "no answer from postgresql://app:CANARY%409@db.example/app",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    cleaned = Redactor().clean(text)
    assert "CANARY" not in cleaned
    assert MASK in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "the api answered",
        "password login is refused",
        "step=order_server run=7f3a ms=1840",
        "see https://shop.example:8443/help or write to help@shop.example",
    ],
)
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert Redactor().clean(text) == text


def test_a_value_we_know_is_masked_wherever_it_stands() -> None:
    net = Redactor()
    net.learn(["tr0ub4dor&3", "short"])
    assert net.clean("it said tr0ub4dor&3!") == f"it said {MASK}!"
    assert net.clean("a short word") == "a short word"


@pytest.fixture
def heard() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A child logger whose handler hangs at its parent."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    parent = logging.getLogger("tests.redacted")
    parent.addHandler(handler)
    guard_handlers()
    yield logging.getLogger("tests.redacted.child"), text
    parent.removeHandler(handler)


def test_a_child_loggers_message_arguments_and_traceback_are_masked(heard) -> None:
    logger, text = heard
    redactor.learn(["CANARY-known-value"])
    logger.warning("value %s and password=%s", "CANARY-known-value", "CANARY-shape")
    try:
        int("CANARY-known-value")
    except ValueError:
        logger.exception("it failed")
    assert "CANARY" not in text.getvalue()
    assert "ValueError" in text.getvalue()


def test_the_net_hangs_once_on_each_handler(heard) -> None:
    guard_handlers()
    (handler,) = logging.getLogger("tests.redacted").handlers
    assert handler.filters.count(redactor) == 1
