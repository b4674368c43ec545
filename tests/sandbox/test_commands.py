import subprocess
import sys
from pathlib import Path


def test_a_started_program_has_three_descriptors_and_none_of_ours(tmp_path: Path) -> None:
    script = (
        "import os; from sandbox.commands import start_for_good as start\n"
        "ours = os.dup(0); os.set_inheritable(ours, True)\n"
        "said = os.open({!r}, os.O_WRONLY | os.O_CREAT)\n"
        "os.waitpid(start(['ls', '/proc/self/fd'], os.environ, stdin=0, out=said, err=2), 0)"
    ).format(str(tmp_path / "said"))
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2], timeout=60)
    assert (tmp_path / "said").read_text().split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads
