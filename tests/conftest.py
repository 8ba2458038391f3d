"""Shared fixtures: real data where it is at hand, a tiny model, and quiet, offline libraries."""

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

# Where a script runs the tests in the background they ignore SIGINT, and so would all that they start and stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

prepare_torch()
# One thread, and so one process: tests share the processors, and some put stand-ins into this process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Numbers of tests are compared, whatever this machine's CPU or GPU would round them to.
os.environ.setdefault("CHATLADDER_DTYPE", "float32")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# Hundreds of processes import the same modules: they compile them once, whatever is set here.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples in every run of CI: what is new there is the change and not the draw.
settings.register_profile("ci", derandomize=True, deadline=None)
# On a busy machine an example takes as long as it takes.
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

pytest_plugins = ["model_fixtures"]

ROOT = Path(__file__).resolve().parents[1]
#: What tests need that drive terminals, or fork this process; Windows has neither.
_POSIX = re.compile(r"^import (fcntl|pty|termios)$|os\.fork\(|warm_python", flags=re.MULTILINE)
_TESTS = ROOT.joinpath("tests").rglob("test_*.py") if os.name == "nt" else ()
collect_ignore = [str(path) for path in _TESTS if _POSIX.search(path.read_text(encoding="utf-8"))]
SHARED_DATA = ROOT.parent / "shared" / "data"

#: The test files that take longest, longest first: they are begun first, and two processes then end together.
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
        shutil.copytree(ROOT / code, project / code)  # compiled, too, which spares every project a second
    (project / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    for name in files:
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, project / name)


@pytest.fixture(scope="session")
def warm() -> Iterator[dict[str, str]]:
    """What the environment of a command gets, whose ``python`` then has the large libraries loaded (``warm_python``).

    Its hash seed is other than this process's. Where nothing forks it is Python itself.
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
    """The ``python`` of warm commands."""
    return shutil.which("python", path=warm["PATH"])


@pytest.fixture
def shared_data() -> Path:
    """The folder of real chats beside the repository; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real chats are not at {SHARED_DATA.relative_to(ROOT.parent)} beside the repository")
    return SHARED_DATA
