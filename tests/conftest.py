"""Shared fixtures: real data if available, a tiny model, and quiet, offline libraries."""

import importlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from chatladder.models.devices import prepare_torch

# If a script runs the tests in the background, they ignore SIGINT, and so would all that they start and stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

prepare_torch()
# One thread, and so one process: tests share the processors, and some patch functions of this process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests compare numbers, so they must not depend on the dtype that this machine's CPU or GPU would use.
os.environ.setdefault("CHATLADDER_DTYPE", "float32")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# Hundreds of processes import the same modules: they must compile them only once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples in every run of CI, so that a new failure is due to the change and not to the draw.
settings.register_profile("ci", derandomize=True, deadline=None)
# No deadline: on a busy machine an example may take long.
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

pytest_plugins = ["model_fixtures"]

ROOT = Path(__file__).resolve().parents[1]
#: Requirements of tests that drive terminals or fork this process; Windows has neither.
_POSIX = re.compile(r"^import (fcntl|pty|termios)$|os\.fork\(|warm_python", flags=re.MULTILINE)
_TESTS = ROOT.joinpath("tests").rglob("test_*.py") if os.name == "nt" else ()
collect_ignore = [str(path) for path in _TESTS if _POSIX.search(path.read_text(encoding="utf-8"))]
SHARED_DATA = ROOT.parent / "shared" / "data"

#: The slowest test files, slowest first: they start first, so that parallel processes end at about the same time.
LONGEST = (
    "cli/test_commands.py",
    "test_end_to_end.py",
    "distributed/test_engine_predictions.py",
    "distributed/test_side_by_side.py",
    "cli/test_label_studio_server.py",
    "stages/test_train.py",
    "distributed/test_engine.py",
    "endpoint/test_budget.py",
    "cli/test_forget.py",
    "cli/test_upgrade.py",
    "models/test_packages.py",
    "stages/test_predict_served_server.py",
    "cli/test_annotate_web.py",
    "cli/test_export.py",
    "cli/test_serve.py",
    "models/test_folders.py",
    "test_gathering.py",
    "chat/test_any_input.py",
    "training/test_launchers.py",
    "cli/test_doctor.py",
    "cli/test_export_server.py",
    "test_three_labels.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def copy_code(project: Path, *files: str) -> None:
    """Copy the package, the stages and some further files of the repository into a project."""
    for code in ("chatladder", "stages"):
        shutil.copytree(ROOT / code, project / code)  # including compiled files, which saves a second a project
    (project / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    for name in files:
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, project / name)


@pytest.fixture(scope="session")
def warm() -> Iterator[dict[str, str]]:
    """Yield environment variables for commands whose ``python`` has the large libraries loaded (``warm_python``).

    Their hash seed differs from this process's. On Windows, which cannot fork, ``python`` is Python itself.
    """
    seed = {"PYTHONHASHSEED": "1"}
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | seed
    if os.name == "nt":
        yield {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}", **seed}
        return
    with importlib.import_module("warm_python").warm_commands(ROOT, plain) as environment:
        yield {"PATH": environment["PATH"], **seed}


@pytest.fixture(scope="session")
def python(warm: dict[str, str]) -> str:
    """Return the path of the warm ``python``."""
    return shutil.which("python", path=warm["PATH"])


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of real chats next to the repository; tests that need it are skipped if it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real chats are not at {SHARED_DATA.relative_to(ROOT.parent)} beside the repository")
    return SHARED_DATA
