"""A task of three scored labels: a process has one task, so another one asks this and runs ``three_labels.py``."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TASK = ROOT / "tests" / "tasks" / "urgency"


@pytest.mark.slow
def test_a_task_of_three_labels_is_labelled_trained_on_scored_and_told():
    checks = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/three_labels.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        checks, cwd=ROOT, env=environment | {"CHATLADDER_TASK": str(TASK)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
