"""What gathers all rungs, by real dvc: in a fresh clone, and after a rung has left params.yaml."""

import json
import os
import shutil
import subprocess

import pytest
import yaml
from score_rows import write_label_sets, write_labelled

from tests.conftest import ROOT, copy_code

pytestmark = pytest.mark.slow

#: A base model and its answers, made up; the table that gathers them is the real stage.
MAKE = """
import json, sys
from pathlib import Path
from chatladder.io.rows import LABELLED, read_rows
from tests.score_rows import write_base, write_predictions

key, params = sys.argv[1], int(sys.argv[2])
rows = read_rows(Path("data/labelled.parquet"), LABELLED).to_pylist()
write_base(Path("data/bases"), key, params)
write_predictions(Path("data/predictions/vanilla") / f"{key}.parquet", rows, params / 2000)
"""


@pytest.fixture(scope="module")
def run(warm):
    def run_command(folder, *command, expected=0):
        environment = {**os.environ, **warm, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == (expected == 0), said
        return said

    return run_command


@pytest.fixture(scope="module")
def built(tmp_path_factory, run):
    """Three made-up rungs and check_scaling, committed and pushed."""
    folder = tmp_path_factory.mktemp("built") / "project"
    copy_code(folder, ".dvc/config", ".dvcignore")
    (folder / "make.py").write_text(MAKE)
    (folder / "data").mkdir()
    write_labelled(folder / "data" / "labelled.parquet")
    write_label_sets(folder / "data" / "label_sets.parquet")
    out_of_fold = folder / "data" / "predictions" / "out_of_fold"
    out_of_fold.mkdir(parents=True)
    (out_of_fold / ".gitignore").write_text("/none.parquet\n")  # as DVC leaves it, so that git keeps the folder
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    ladder = {key: {"base": {"size": size}} for key, size in (("a", 1000), ("b", 2000), ("c", 4000))}
    given = {"task": "needs_history", "ladder": ladder, "served": {}, "review": {"rungs": []}, "gate": params["gate"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    making = {
        "cmd": "python -m make ${key} ${item.base.size}",
        "deps": ["make.py", "data/labelled.parquet"],
        "params": ["ladder.${key}.base"],
        "outs": ["data/bases/${key}", "data/predictions/vanilla/${key}.parquet"],
    }
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    graph = {"base": {"foreach": "${ladder}", "do": making}, "check_scaling": stages["check_scaling"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}, sort_keys=False))
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "remote", "add", "-q", "-d", "store", str(folder.parent / "store"))
    run(folder, "dvc", "repro", "-q")
    run(folder, "dvc", "push", "-q")
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "All rungs")
    return folder


@pytest.fixture
def project(built, tmp_path):
    """A copy of that project."""
    return shutil.copytree(built, tmp_path / "project", symlinks=True)


def rungs(folder):
    return json.loads((folder / "metrics" / "scaling.json").read_text())["rungs"]


def test_a_fresh_clone_never_gathers_an_empty_folder(project, run, tmp_path):
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(project), str(clone))
    said = run(clone, "dvc", "repro", "--pull", "--allow-missing", expected=1)
    assert "data/bases/a" in said
    assert "dvc pull" in said
    assert run(clone, "git", "status", "--porcelain", "dvc.lock") == ""
    run(clone, "dvc", "pull", "-q")
    run(clone, "dvc", "repro", "-q")
    assert run(clone, "git", "status", "--porcelain") == ""
    assert rungs(clone) == 3


def test_a_rung_that_left_params_leaves_the_table_or_is_refused(project, run):
    params = yaml.safe_load((project / "params.yaml").read_text())
    del params["ladder"]["b"]
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    said = run(project, "dvc", "repro", expected=1)
    assert "data/bases/b" in said
    assert "params.yaml" in said
    shutil.rmtree(project / "data" / "bases" / "b")
    assert "data/predictions/vanilla/b.parquet" in run(project, "dvc", "repro", expected=1)
    (project / "data" / "predictions" / "vanilla" / "b.parquet").unlink()
    run(project, "dvc", "repro", "-q")
    assert rungs(project) == 2
    assert "up to date" in run(project, "dvc", "status")
