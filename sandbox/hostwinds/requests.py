"""The wire: one path, POST forms only, and the ways in which an answer can go wrong on its way."""

import json
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any, Protocol
from urllib.parse import parse_qs

from sandbox.hostwinds.api import note, perform
from sandbox.hostwinds.asking import Ask
from sandbox.hostwinds.config import API_PATH
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.faults import AUTH, AUTH_SHAPES, BAD_REPLY, REPLY_LOST, Fault
from sandbox.hostwinds.model import Account

FORM = "application/x-www-form-urlencoded"
MOST_BODY_BYTES = 1_000_000
IDLE_SECONDS = 75.0  # a kept connection is closed after this
REFUSED = {"result": "error", "action": "Authorization", "message": "Not Authorized!"}
NOBODY = Account("", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: `body` is sent as it stands."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])


class Front(Protocol):
    """What a request needs of the listener that took its connection."""

    emulator: Emulator
    released: threading.Event  # set when held answers are to be let go


def page(status: int, **headers: str) -> Answer:
    """An HTML page, as an edge or a proxy shows it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(f"<!doctype html><title>{status}</title>".encode(), status, "text/html", named)


def document(value: Any, status: int = HTTPStatus.OK) -> Answer:
    """A JSON answer."""
    return Answer(json.dumps(value).encode(), status)


def spoilt(fault: Fault, good: Answer) -> Answer:
    """What arrives instead of a good answer."""
    bad = {
        "html_520": page(520),
        "http_502": page(502),
        "http_503": page(503),
        "http_429": page(429, Retry_After=str(int(fault.number("retry_after", 7)))),
        "redirect_302": page(302, Location="/maintenance"),
        "truncated_json": Answer(good.body[: max(1, len(good.body) // 2)]),
        "empty_body": Answer(b""),
        "unknown_shape": document({"maintenance": {"until": "soon"}}),
        "empty_list": document([]),
    }
    return bad[fault.name]


def refusal(shape: str) -> Answer:
    """A refused key, in one of the shapes in which that is told."""
    if shape == "edge_403_html":
        return page(HTTPStatus.FORBIDDEN)
    if shape == "auth_bare":
        return document(REFUSED)
    statuses = {"auth_401": HTTPStatus.UNAUTHORIZED, "auth_403": HTTPStatus.FORBIDDEN}
    return document([REFUSED], statuses.get(shape, HTTPStatus.OK))


class Request(BaseHTTPRequestHandler):
    """One connection; requests on it are answered in turn."""

    protocol_version = "HTTP/1.1"
    server_version = "api"
    sys_version = ""
    timeout = IDLE_SECONDS

    def do_POST(self) -> None:
        """Answer a form at the one path; anything else is not found."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            self.close_connection = True
            return self._send(page(HTTPStatus.NOT_FOUND))
        body = self.rfile.read(int(length))
        if self.path != API_PATH or self.headers.get_content_type() != FORM:
            return self._send(page(HTTPStatus.NOT_FOUND))
        try:
            form = parse_qs(body.decode(), keep_blank_values=True)
        except UnicodeDecodeError:
            return self._send(page(HTTPStatus.BAD_REQUEST))
        return self._meet(form)

    def _nowhere(self) -> None:
        self.close_connection = True
        self._send(page(HTTPStatus.NOT_FOUND))

    do_GET = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _nowhere  # noqa: N815 - the library's own names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's own name
        """Print nothing: a request line may hold a key."""

    def _meet(self, form: dict[str, list[str]]) -> None:
        emulator = self._front.emulator
        ask = Ask(
            emulator.account_of((form.pop("API", None) or [""])[0]) or NOBODY, (form.get("action") or [""])[0], form
        )
        fault = emulator.faults.take_first((REPLY_LOST | BAD_REPLY) - {"refuse_connect"}, ask.action, ask.label)
        if fault and fault.name in {"drop_before", "late_effect"}:
            return self._drop(ask, fault)
        if fault and fault.name in BAD_REPLY and not fault.effect:
            return self._send(spoilt(fault, document([{"result": "success", "action": ask.title}])))
        answer = self._refused(ask) or document(perform(emulator, ask))
        if fault and fault.name in REPLY_LOST:
            if fault.name == "hang_reply":
                self._front.released.wait(fault.number("seconds", 3600))
            return self._close()
        if slow := emulator.faults.take("slow_read", ask.action, ask.label):
            self._front.released.wait(slow.number("seconds", 5))
        return self._send(spoilt(fault, answer) if fault else answer)

    def _drop(self, ask: Ask, fault: Fault) -> None:
        """Close without an answer; with `late_effect` the request is carried out all the same, later."""
        emulator = self._front.emulator
        if fault.name == "late_effect" and not self._refused(ask):
            details = {"account": ask.account.name, "action": ask.action, "form": dict(ask.form)}
            with emulator.lock:
                emulator.plan_deed("late_request", None, fault.number("seconds", 5), **details)
                emulator.save()
        self._close()

    def _refused(self, ask: Ask) -> Answer | None:
        """The refusal of a key that is wrong, expired, or used from an address that is not listed."""
        emulator = self._front.emulator
        fault = emulator.faults.take_first(AUTH, ask.action, ask.label)
        if fault is None and ask.account is not NOBODY and self._is_admitted(ask.account, emulator.clock.now()):
            return None
        with emulator.lock:
            note(emulator, ask, "refused")
        return refusal(fault.name if fault and fault.name in AUTH_SHAPES else emulator.config.refusal)

    def _is_admitted(self, account: Account, now: float) -> bool:
        if account.expires_at is not None and now >= account.expires_at:
            return False
        peer = ip_address(self.client_address[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        if not isinstance(peer, IPv4Address):
            return False  # a key is bound to IPv4 addresses
        return account.allow_list is None or any(peer in IPv4Network(entry) for entry in account.allow_list)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _close(self) -> None:
        self.close_connection = True

    @property
    def _front(self) -> Front:
        return self.server  # pyright: ignore[reportReturnType] - the listener takes the place of the library's server
