"""Starts `python -m …` as forks of one process that has the product's imports behind it: most of each start is saved.

`python -m tests.support.starter SOCKET` in the control room. A connection sends one line of JSON (words, settings,
stdin) and gets one back (code, out, err). The module runs as __main__ in a process of its own, with its own session,
environment, streams and end; it may be killed.
"""

import atexit
import json
import os
import runpy
import signal
import socketserver
import sys
import tempfile
import threading
from importlib import import_module
from typing import Any, BinaryIO, cast

from flows.commands.environment import prepare_environment
from flows.commands.registry import COMMANDS


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
    """Be the command: its streams, its settings, its end, with the last words that others said at theirs."""
    os.setsid()
    for stream, number in ((given, 0), (out, 1), (err, 2)):
        os.dup2(stream.fileno(), number)
    os.environ.update(wish["settings"])
    module, *rest = wish["words"]
    sys.argv = [module, *rest]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  as the interpreter would
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  what the interpreter does at its end
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def import_all() -> None:
    """What the commands would import. Not flows.__main__: each command is to run it anew."""
    prepare_environment()
    for where, _ in COMMANDS.values():
        import_module(where.partition(":")[0])
    import_module("flows.onboard")


if __name__ == "__main__":
    import_all()
    with Starter(sys.argv[1], Conversation) as starter:
        starter.serve_forever(0.2)
