"""An S3 server on loopback that checks every signature (moto), with faults put before it on demand.

Not a plugin: its libraries take a second to import, and only what stores files imports it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from moto import settings
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

ACCOUNT = "123456789012"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"


@dataclass
class S3Server:
    """What a test may set and see.

    `refuse`: methods answered 503. `cut`: GET ends halfway. `alter`: GET gives one byte another value.
    `swallow`: an upload is answered 200 and kept as nothing.
    """

    endpoint: str = ""
    bucket: str = "backups"
    access_key_id: str = ""
    secret_access_key: str = ""
    refuse: frozenset[str] = frozenset()
    cut: bool = False
    alter: bool = False
    swallow: bool = False
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/penguin"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """One server with one bucket and one pair of keys, gone at the end."""
    s3, iam = get_backend("s3")[ACCOUNT]["aws"], get_backend("iam")[ACCOUNT]["aws"]
    name = f"backups-{uuid4().hex[:8]}"  # two servers of one process share what is behind them
    s3.create_bucket(name, "us-east-1")
    iam.create_user(region_name="us-east-1", user_name=name)
    iam.put_user_policy(name, "everything", EVERYTHING)
    key = iam.create_access_key(name)
    owner = S3Server(bucket=name, access_key_id=key.access_key_id, secret_access_key=key.secret_access_key)
    app = faulty(DomainDispatcherApplication(create_backend_app), owner)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=quiet(MotoRequestHandler))
    owner.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    usual, settings.INITIAL_NO_AUTH_ACTION_COUNT = settings.INITIAL_NO_AUTH_ACTION_COUNT, 0
    try:
        yield owner
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = usual
        server.shutdown()
        server.server_close()
        thread.join()


def quiet(handler: type) -> type:
    return type("Quiet", (handler,), {"log": lambda *_args, **_named: None})


def faulty(app: Callable[..., Iterable[bytes]], owner: S3Server) -> Callable[..., Iterable[bytes]]:
    """The faults stand in front of the server, so what it stored is right and only the way is bad."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        owner.requests.append(f"{method} {environ['PATH_INFO']}")
        if method in owner.refuse:
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]
        if method == "PUT" and owner.swallow:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("200 OK", [("ETag", '"d41d8cd98f00b204e9800998ecf8427e"'), ("Content-Length", "0")])
            return []
        if method == "GET" and (owner.cut or owner.alter) and "list-type" not in environ.get("QUERY_STRING", ""):
            return damaged(b"".join(app(environ, start)), owner)
        return app(environ, start)

    return answer


def damaged(body: bytes, owner: S3Server) -> Iterable[bytes]:
    half = len(body) // 2
    if owner.cut:
        return [body[:half]]  # the head has promised all of it
    return [body[:half], bytes([body[half] ^ 1]), body[half + 1 :]]
