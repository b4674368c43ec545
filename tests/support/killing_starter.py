"""Starts commands of the product as forks of one process that has its imports behind it: half of each start is saved.

`python -m tests.support.killing_starter SOCKET` in the control room. A connection sends one line of JSON (words,
settings, stdin) and gets one back (code, out, err). The command runs in a process of its own, which may be killed.
"""

import json
import os
import signal
import socketserver
import sys
import tempfile
from typing import Any, BinaryIO, cast

from flows.__main__ import app  # first: it prepares the environment for Prefect

# isort: split
import flows.onboard  # noqa: F401  # pyright: ignore[reportUnusedImport]  what every command would import
from tests.support import killing


class Starter(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Every connection is served by a fork, so that several commands run at once."""

    max_children = 20


class Conversation(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        wish = json.loads(self.rfile.readline())
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(wish["stdin"].encode())
            given.seek(0)
            child = os.fork()
            if child == 0:
                become(wish, cast("BinaryIO", given), cast("BinaryIO", out), cast("BinaryIO", err))
            _, status = os.waitpid(child, 0)
            printed = [read(cast("BinaryIO", stream)) for stream in (out, err)]
        answer = {"code": os.waitstatus_to_exitcode(status), "out": printed[0], "err": printed[1]}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def read(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def become(wish: dict[str, Any], given: BinaryIO, out: BinaryIO, err: BinaryIO) -> None:
    """Be the command: its streams, its settings, its end. Never returns."""
    os.setsid()
    for stream, number in ((given, 0), (out, 1), (err, 2)):
        os.dup2(stream.fileno(), number)
    os.environ.update(wish["settings"])
    code = 1
    try:
        run(wish["words"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(words: list[str]) -> None:
    """The command line of the product, or the one that kills it."""
    module, *rest = words
    if module == "flows":
        app(rest, prog_name="python -m flows")
    else:
        killing.main(rest)


if __name__ == "__main__":
    with Starter(sys.argv[1], Conversation) as starter:
        starter.serve_forever(0.2)
