"""What every ring shares: real databases, a clean environment, and nothing that phones home."""

import atexit
import os
import shutil
from pathlib import Path

import certifi

from tests.support.scratch import scratch

# Before anything imports Prefect, which reads its settings once. A developer's own settings never reach a test.
for name in [name for name in os.environ if name.startswith(("PENGUINMAILS_", "PREFECT_"))]:
    if not name.startswith(("PENGUINMAILS_SANDBOX__", "PENGUINMAILS_TEST_")):
        del os.environ[name]
PREFECT_HOME = scratch("prefect")
atexit.register(shutil.rmtree, PREFECT_HOME, ignore_errors=True)  # after Prefect's own last words, which write there
# One authority for all: the server is on loopback without TLS, and each of Prefect's clients reads the file anew.
END_OF_CERTIFICATE = "-----END CERTIFICATE-----\n"
TRUST = PREFECT_HOME / "one-authority.pem"
TRUST.write_text(Path(certifi.where()).read_text().partition(END_OF_CERTIFICATE)[0] + END_OF_CERTIFICATE)
os.environ |= {
    "PREFECT_HOME": str(PREFECT_HOME),
    "PREFECT_API_SSL_CERT_FILE": str(TRUST),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
}

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.prefect_server",
    "tests.support.emulator",
    "tests.support.product",
]
