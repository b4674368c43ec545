"""One zone behind PowerDNS' HTTP API, on loopback, as far as dns-lexicon speaks it: read the zone, patch sets."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.served import served_by

KEY = "CANARY-powerdns-key"


@dataclass
class PowerDns:
    """The zone, and what goes wrong: `answers` are given to the next writes in turn, 200 for what is not named."""

    zone: str
    sets: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    answers: list[int | str] = field(default_factory=list)
    reads: list[int | str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)  # what ends the wait of a "late" answer
    url: str = ""

    def put(self, name: str, rtype: str, *contents: str, ttl: int = 300) -> None:
        """What stands there before anybody comes; contents as in a zone file."""
        self.sets[f"{name}.", rtype] = {"name": f"{name}.", "type": rtype, "ttl": ttl,
                                        "records": [{"content": c, "disabled": False} for c in contents]}  # fmt: skip

    def contents(self, name: str, rtype: str) -> list[str]:
        """What stands there now."""
        found = self.sets.get((f"{name}.", rtype), {"records": []})
        return [record["content"] for record in found["records"]]

    def patch(self, wanted: dict[str, Any]) -> int:
        for rrset in wanted["rrsets"]:
            key = rrset["name"], rrset["type"]
            if any(record["content"][0] != '"' for record in rrset["records"] if rrset["type"] == "TXT"):
                return 422
            if any(len(part) > 255 for record in rrset["records"] for part in record["content"].split('"')[1::2]):
                return 422
            if rrset["changetype"] == "DELETE" or not rrset["records"]:
                self.sets.pop(key, None)
            else:
                self.sets[key] = {name: rrset[name] for name in ("name", "type", "ttl", "records")}
        return 204


@contextmanager
def running_powerdns(zone: str) -> Iterator[PowerDns]:  # noqa: C901  one handler, told what to do wrong
    """Serve until the block ends."""
    served = PowerDns(zone)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(("GET", self.path))
            if self.headers["X-API-Key"] != KEY:
                return self.answer(401)
            if served.reads and (odd := served.reads.pop(0)) != 200:
                return self.odd(odd)
            body = {"name": f"{zone}.", "kind": "Native", "rrsets": list(served.sets.values())}
            return self.answer(200, json.dumps(body).encode())

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append(("PATCH", f"{body['rrsets'][0]['name']} {body['rrsets'][0]['type']}"))
            odd = served.answers.pop(0) if served.answers else 200
            if odd == "late":
                served.held.wait(60)
            elif odd != 200:
                return self.odd(odd)
            return self.answer(served.patch(body))

        def odd(self, how: int | str) -> None:
            if how == "html":
                return self.answer(200, b"<html>maintenance</html>")
            if how == "hang":
                time.sleep(3)
                return self.answer(204)
            if how == "forget":
                return self.answer(204)  # says yes and does nothing
            if how == "drop":
                return self.connection.close()
            return self.answer(int(how), b'{"error": "no"}', {"Retry-After": "7"})

        def answer(self, status: int, body: bytes = b"", more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(more or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with served_by(Handler) as served.url:
        yield served
