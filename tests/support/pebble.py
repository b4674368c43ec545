"""A real ACME authority (Pebble) on loopback, and a wire before it that can lie, refuse and fall silent."""

import http.client
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flows.policy.host_files import text
from sandbox.certificates import Authority
from tests.support.sshd import free_port

PEBBLE = shutil.which("pebble") or "pebble"
NAMES = shutil.which("pebble-challtestsrv") or "pebble-challtestsrv"  # of the same package: names every host 127.0.0.1
DIRECTORY = "/dir"
BLOCKED = "blocked.example"
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Pebble:
    """The authority: its port, where it comes to look, and whom its HTTPS is trusted by."""

    port: int
    http_port: int
    ca_file: Path
    names_port: int

    @property
    def directory(self) -> str:
        return f"https://localhost:{self.port}{DIRECTORY}"

    def tell(self, name: str, address: str) -> None:
        """Give one name another address than loopback's."""
        body = json.dumps({"host": f"{name}.", "addresses": [address]}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.names_port}/add-a", body) as reply:
            assert reply.status == 200


@contextmanager
def running_pebble(folder: Path, *, nonce_reject: int = 5, life_seconds: int = 7776000) -> Iterator[Pebble]:
    """Serve until the block ends. `nonce_reject`: of a hundred nonces; five is Pebble's own choice."""
    authority = Authority(folder / "ca")
    authority.make()
    issued = authority.issue(["localhost"])
    (folder / "api.crt").write_text(issued.certificate)
    (folder / "api.key").write_text(issued.key)
    port, management, http_port, names, dns_port = (free_port() for _ in range(5))
    config = {
        "listenAddress": f"127.0.0.1:{port}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "api.crt"), "privateKey": str(folder / "api.key"), "httpPort": http_port,
        "tlsPort": 1, "domainBlocklist": [BLOCKED], "certificateValidityPeriod": life_seconds,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"pebble": config}))
    served = [NAMES, "-management", f"127.0.0.1:{names}", "-dns01", f"127.0.0.1:{dns_port}", "-defaultIPv6", "",
              "-http01", "", "-https01", "", "-tlsalpn01", ""]  # fmt: skip
    asked = [PEBBLE, "-config", str(folder / "config.json"), "-dnsserver", f"127.0.0.1:{dns_port}"]
    env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(nonce_reject)}
    with running(served, folder / "names.log", env, names), running(asked, folder / "log", env, port):
        yield Pebble(port, http_port, authority.certificate_file, names)


@contextmanager
def running(words: list[str], log: Path, env: dict[str, str], port: int) -> Iterator[None]:
    """One process that listens on a port of loopback."""
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=env)
    try:
        while not listens(port):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.connect()
        connection.close()
        return True
    return False


@contextmanager
def host_answers(port: int, *pairs: str, folder: Path) -> Iterator[None]:
    """What a host of ours runs while it is asked: pairs of token and answer."""
    words = ["python3", "-I", "-c", text("http01.py"), str(port), *pairs]
    with running(words, folder / "answers.log", dict(os.environ), port):
        yield


@dataclass
class Fault:
    """What comes instead of the authority's answer to the next calls of a path; `status` 0: the line is cut."""

    path: str
    status: int
    body: bytes
    headers: dict[str, str]
    times: int


@dataclass
class Wire:
    """The authority as seen through a wire that fails on command."""

    name: str
    port: int
    ca_file: Path
    faults: list[Fault] = field(default_factory=list[Fault])
    asked: list[str] = field(default_factory=list[str])
    meta: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def directory(self) -> str:
        return f"https://{self.name}:{self.port}{DIRECTORY}"

    def fail(self, path: str, status: int, body: bytes = b"", *, times: int = 1, **headers: str) -> None:
        """Answer the next `times` calls whose path begins so."""
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(path, status, body, shown, times))

    def refuse(self, path: str, kind: str, detail: str, status: int = 403, times: int = 1, **headers: str) -> None:
        """The same with a problem document."""
        body = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}).encode()
        self.fail(path, status, body, times=times, **headers, Content_Type=PROBLEM)

    def due(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and path.startswith(fault.path):
                fault.times -= 1
                return fault
        return None

    def rename(self, **meta: Any) -> None:
        """Let the directory say more of the authority from now on."""
        self.meta.update(meta)

    def told(self, path: str, body: bytes) -> bytes:
        """What is passed on: the directory with our additions, all else as it came."""
        if path != DIRECTORY or not self.meta:
            return body
        shown = json.loads(body)
        return json.dumps({**shown, "meta": {**shown.get("meta", {}), **self.meta}}).encode()

    def calls(self, path: str) -> int:
        return sum(one.startswith(path) for one in self.asked)


@contextmanager
def failing_wire(pebble: Pebble) -> Iterator[Wire]:
    """HTTPS in front of Pebble, with a certificate of the same authority."""
    folder = pebble.ca_file.parents[1]
    onward = ("localhost", pebble.port)
    with wire_between(onward, pebble.ca_file, (folder / "api.crt", folder / "api.key")) as wire:
        yield wire


@contextmanager
def wire_between(
    onward: tuple[str, int],
    ca_file: Path,
    own: tuple[Path, Path],
    *,
    name: str = "localhost",
    listen: str = "127.0.0.1",
    room: Callable[[], AbstractContextManager[None]] = nullcontext,
    known_as: str = "",
) -> Iterator[Wire]:
    """HTTPS under `name` with certificate and key of its `own`, passed on to another; its threads live in `room`.

    The other's certificate is checked for `known_as` where it is reached by its address.
    """
    wire = Wire(name, 0, ca_file)
    inside = ssl.create_default_context(cafile=ca_file)

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            wire.asked.append(self.path)
            if fault := wire.due(self.path):
                if fault.status == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.say(fault.status, {"Replay-Nonce": "bm9uY2U", **fault.headers}, fault.body)
                return
            line = http.client.HTTPConnection(*onward, timeout=30)
            line.connect()
            line.sock = inside.wrap_socket(line.sock, server_hostname=known_as or onward[0])
            line.request(self.command, self.path, body, dict(self.headers))  # its Host too: addresses are made of it
            reply = line.getresponse()
            self.say(reply.status, dict(reply.headers), wire.told(self.path, reply.read()))
            line.close()

        def say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for header, value in headers.items():
                if header.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name there
            pass

        do_GET = do_HEAD = do_POST = relay  # noqa: N815  the names it looks for

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    with room():  # a thread that begins in a network namespace stays there
        server = ThreadingHTTPServer((listen, 0), Relay)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        wire.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
