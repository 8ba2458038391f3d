"""An annotator that is killed at random moments loses nothing that was acknowledged, and doubles nothing."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "kills"), [(20, 100), (0, 100)])
def test_no_answer_is_lost_or_doubled_by_kills(tmp_path, rate, kills):
    # A process of its own: it forks, which a process with threads must not.
    options = ["--kills", str(kills), "--rate", str(rate), "--seed", "7", "--folder", str(tmp_path)]
    script = [sys.executable, str(ROOT / "tests" / "annotate_kills.py"), *options]
    done = subprocess.run(script, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert counts["acknowledged"] > 2 * kills
    assert counts["undone"] > 10
    assert counts["lost"] == counts["doubled"] == counts["failed"] == 0
    assert counts["unacknowledged"] <= kills
