"""What a killed run left is removed by the next; what a living one holds is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.scratch import YOUNG_SECONDS, scratch

HOLDER = """
import sys
from tests.support.scratch import scratch
print(scratch("held", sys.argv[1]), flush=True)
sys.stdin.read()
"""


def test_a_folder_outlives_its_process_only_until_the_next_run(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        (theirs / "data").write_text("x")
        long_ago = time.time() - 2 * YOUNG_SECONDS
        os.utime(theirs, (long_ago, long_ago))
        scratch("held", str(tmp_path))
        assert (theirs / "data").exists()  # its process lives
        process.send_signal(signal.SIGKILL)
        process.wait()
    scratch("held", str(tmp_path))
    assert not theirs.exists()


def test_what_was_made_a_moment_ago_is_left_alone(tmp_path: Path) -> None:
    fresh = tmp_path / "penguin-held-fresh"
    fresh.mkdir()
    scratch("held", str(tmp_path))
    assert fresh.exists()
