"""The house's plan: stages over the package, folders in layers, no circles."""

import re
from graphlib import TopologicalSorter

import pytest

from tests.conftest import ROOT
from tests.imports import folder, imported, modules


def layers():
    """Folder -> its layer, from 0 at the bottom, as CONTRIBUTING.md draws them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = re.search(r"<!-- layers -->\n```\n(.*?)```", text, flags=re.S)[1].splitlines()
    names = [line.partition("  #")[0].split() for line in drawn]
    return {name: layer for layer, row in enumerate(reversed(names)) for name in row}


def test_every_folder_is_drawn_and_only_those():
    there = {folder(module) for module in modules()} - {"chatladder", "stages"}
    assert there == {*layers()}


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("chatladder.")])
def test_a_folder_imports_only_from_layers_below(module):
    layer = layers()
    for name in imported(module):
        assert not name.startswith("stages"), f"{module} imports {name}: what both need belongs into the package"
        if folder(name) not in (folder(module), "chatladder"):
            assert layer[folder(name)] < layer[folder(module)], f"{module} imports {name}, which is not below it"


def test_no_stage_imports_another():
    for module in modules():
        if module.startswith("stages."):
            assert [name for name in imported(module) if name.startswith("stages.")] == []


def test_no_import_goes_in_a_circle():
    # An __init__ that imports what is in its folder is no circle of modules that need each other.
    graph = {module: imported(module, at_import=True) for module in modules()}
    TopologicalSorter(graph).prepare()
