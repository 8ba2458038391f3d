"""The lock of the dependencies: it holds every one that pyproject.toml names, within its range, and hashes of each."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT

#: All but torch; torch of the package index, with what it wants; its CPU builds.
LOCKS = ("requirements.lock", "requirements-torch.lock", "requirements-torch-cpu.lock")
ENTRY = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>.+?))?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n(?:    # .*\n)+"
)


def entries(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return [found.groupdict() for found in ENTRY.finditer(text)]


def direct():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    wanted = map(Requirement, [*project["dependencies"], *extras])
    return [each for each in wanted if each.name != project["name"]]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_pins_with_hashes_and_nothing_else(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    left = [line for line in ENTRY.sub("", text).splitlines() if line and not line.startswith("#")]
    assert not left
    assert "://" not in text, "no address of an index or of anything else"
    assert entries(name)


@pytest.mark.parametrize("wanted", direct(), ids=lambda each: each.name)
def test_every_direct_dependency_is_locked_within_its_range(wanted):
    locks = LOCKS[1:] if wanted.name == "torch" else LOCKS[:1]
    for name in locks:
        found = [each for each in entries(name) if each["name"] == canonicalize_name(wanted.name)]
        assert found, "run .ci/lock"
        for each in found:
            assert wanted.specifier.contains(Version(each["version"]), prereleases=True), "run .ci/lock"


def test_what_a_gpu_needs_comes_with_the_torch_that_wants_it():
    names = [{each["name"] for each in entries(name)} for name in LOCKS]
    assert not names[0] & (names[1] | names[2])
    assert {"torch", "triton", "nvidia-cublas"} <= names[1]
    assert names[2] == {"torch"}
    assert not {name for name in names[0] if name.startswith("cuda-")}
