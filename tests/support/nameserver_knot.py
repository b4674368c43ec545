"""A real Knot DNS on loopback that serves one zone and takes signed updates for it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KNOTD = shutil.which("knotd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG = """\
server:
    rundir: "{folder}"
    listen: "127.0.0.1@{port}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "{folder}"
    journal-db-max-size: 16M
key:
  - id: writer.
    algorithm: hmac-sha256
    secret: {secret}
  - id: reader.
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: update
    key: writer.
    action: update
zone:
  - domain: {zone}
    storage: "{folder}"
    file: "zone"
    acl: update
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
"""


@contextmanager
def running_knot(folder: Path, zone: str, records: str, secret: str) -> Iterator[int]:
    """Serve `records` until the block ends and give the port; key `writer.` may update, `reader.` may not."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "zone").write_text(records)
    (folder / "config").write_text(CONFIG.format(folder=folder, port=port, zone=zone, secret=secret))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([KNOTD or "knotd", "-c", str(folder / "config")], stdout=log, stderr=log)
    try:
        while "zone is not signed" not in (text := (folder / "log").read_text()) and "loaded" not in text:
            if process.poll() is not None:
                raise RuntimeError(text)
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()
