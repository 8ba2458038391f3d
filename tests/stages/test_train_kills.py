"""A training that is killed at random moments ends in the bytes of one that was never stopped."""

import json
import os
import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no process")
def test_kills_change_nothing_that_is_learned_and_cost_a_step_each(python):
    script = [python, "-m", "tests.train_kills", "--kills", "2", "--seed", "0"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["same"]
    assert counts["failed"] == counts["other"] == 0
    assert counts["killed_steps"] == 2
    assert counts["again"] == counts["lost_loading"] == counts["lost_writing"] == counts["stale_folders"] == 0
    assert counts["lost_steps"] <= 2
