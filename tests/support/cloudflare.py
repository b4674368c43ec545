"""Zones behind Cloudflare's API, on loopback: a proxy that answers in the vendor's stead, over TLS, as its pages say.

https://developers.cloudflare.com/api/resources/dns/subresources/records/ and …/zones/; where they name no error number,
those that its users meet. The library knows one address only, so clients are led here by HTTPS_PROXY.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.served import served_by

HOST = "api.cloudflare.com"
TOKEN = "CANARY-cloudflare-token"
PER_PAGE = 100
ERRORS = {403: 10000, 429: 971}
Answer = tuple[int, Any]  # status, and the result or the error's number


@dataclass
class Cloudflare:
    """The records of one zone, and what goes wrong: `answers` to the next writes in turn, `reads` to the next GETs."""

    zone: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # zones of the same account, listed before ours
    answers: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)  # contents that no list shows before the next write
    url: str = ""
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def put(self, name: str, rtype: str, *contents: str, **more: Any) -> None:
        """What stands there before anybody comes."""
        for content in contents:
            number = f"{next(self.ids):032x}"
            self.records[number] = {"id": number, "name": name, "type": rtype, "content": content, "ttl": 300, **more}

    def contents(self, name: str, rtype: str) -> list[str]:
        """What stands there now."""
        return sorted(r["content"] for r in self.records.values() if (r["name"], r["type"]) == (name, rtype))

    def writes(self) -> list[str]:
        """How it was written to."""
        return [method for method, _ in self.asked if method != "GET"]

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        """What the API says to a client that it knows."""
        _, zone, records, number, *_ = [*path.removeprefix("/client/v4").strip("/").split("/"), "", "", "", ""]
        if not zone:
            return 200, [{"id": f"{name:->32}", "name": name} for name in (*self.others, self.zone)]
        if zone != f"{self.zone:->32}":
            return 404, 7003
        if not records:
            return 200, {"id": zone, "name": self.zone}
        if method == "GET":
            filters = {key: query[key] for key in ("name", "type", "content") if key in query}
            shown = [record for record in self.records.values() if record["content"] not in self.unseen]
            return 200, [record for record in shown if filters.items() <= record.items()]
        return self.removed(number) if method == "DELETE" else self.written(number, body)

    def removed(self, number: str) -> Answer:
        """A record gone."""
        return (200, {"id": number}) if self.records.pop(number, None) else (404, 81044)

    def written(self, number: str, body: dict[str, Any]) -> Answer:
        """A record created, or overwritten whole."""
        number = number or f"{next(self.ids):032x}"
        self.unseen.clear()
        rtype, content = body["type"], str(body["content"]).rstrip(".")
        if rtype == "TXT" and (content[0] != '"' or any(len(part) > 255 for part in content.split('"')[1::2])):
            return 400, 9207
        if rtype == "MX" and ("priority" not in body or " " in content):
            return 400, 9101
        if not 60 <= body["ttl"] <= 86400 and body["ttl"] != 1:
            return 400, 9021
        record = {"id": number, "name": body["name"], "type": rtype, "content": content, "ttl": body["ttl"]}
        record |= {"priority": body["priority"]} if rtype == "MX" else {}
        others = [r for r in self.records.values() if r["id"] != number and r["name"] == record["name"]]
        if any({**other, "ttl": 0, "id": ""} == {**record, "ttl": 0, "id": ""} for other in others):
            return 400, 81058
        if any("CNAME" in (other["type"], rtype) for other in others):
            return 400, 81053
        self.records[number] = record
        return 200, record


class Door(BaseHTTPRequestHandler):
    """The proxy that clients ask for the vendor's host, and behind it the vendor's host itself."""

    protocol_version = "HTTP/1.1"
    served: Cloudflare
    context: ssl.SSLContext

    def do_CONNECT(self) -> None:
        assert self.path == f"{HOST}:443"
        self.send_response(200)
        self.end_headers()
        self.request = self.context.wrap_socket(self.request, server_side=True)
        self.setup()
        self.close_connection = False  # whatever version of HTTP it was asked in

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(where.query).items()}
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        self.served.asked.append((self.command, where.path))
        odd = self.served.reads if self.command == "GET" else self.served.answers
        status = odd.pop(0) if odd else 200
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.say(403, 10000, {})
        elif status != 200:
            self.say(status, ERRORS.get(status, 1000), query)
        else:
            self.say(*self.served.answer(self.command, where.path, query, body), query)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def say(self, status: int, result: Any, query: dict[str, str]) -> None:
        good = status == 200
        reply: dict[str, Any] = {"success": good, "messages": [], "result": result if good else None}
        reply["errors"] = [] if good else [{"code": result, "message": f"quoting {TOKEN}"}]
        if isinstance(reply["result"], list):
            page, most = int(query.get("page", 1)), min(int(query.get("per_page", PER_PAGE)), PER_PAGE)
            reply["result_info"] = {"page": page, "total_pages": -(-len(result) // most)}
            reply["result"] = result[(page - 1) * most : page * most]
        raw = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        if status == 429:
            self.send_header("retry-after", "240")
        self.end_headers()
        self.wfile.write(raw)

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the server would close what was wrapped

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def running_cloudflare(zone: str, context: ssl.SSLContext) -> Iterator[Cloudflare]:
    """Serve until the block ends; `context` is that of a server by the vendor's name."""
    served = Cloudflare(zone)
    door = type("Door", (Door,), {"served": served, "context": context})
    with served_by(door) as served.url:
        yield served
