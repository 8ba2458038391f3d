"""Results are kept with what they rest on, and pages are written from them."""

import pytest
import yaml
from click.testing import CliRunner

from benchmarks import results, rounds, write
from benchmarks.results import Result, changed, fingerprint, publish, read
from benchmarks.write import BENCHMARKS, figure, written
from chatladder.io.console import DataError


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """A dvc.lock of two rungs' predictions, where they are looked up; a call changes the hash of one."""
    path = tmp_path / "dvc.lock"

    def lay(small="1"):
        outs = {"data/labelled.parquet": "0", "data/tuned/large": "2", "data/tuned/small": small}
        stages = {name: {"outs": [{"path": name, "md5": md5}]} for name, md5 in outs.items()}
        path.write_text(yaml.safe_dump({"stages": stages}))

    lay()
    monkeypatch.setattr(results, "fingerprint", lambda name, lock=path: fingerprint(name, path))
    return lay


def test_a_result_is_kept_with_its_command_and_what_it_rests_on(lock, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["history.py", "--rung", "a b"])
    path = tmp_path / "history.md"
    publish(path, "benchmarks.history", "| a |", ["data/labelled.parquet", "data/tuned"], {"loss": 0.25})
    assert capsys.readouterr().out == "| a |\n"
    kept = read(path)
    assert (kept.commands, kept.text, kept.figures) == (
        ["python -m benchmarks.history --rung 'a b'"],
        "| a |",
        {"loss": 0.25},
    )
    assert "torch" in kept.machine
    assert changed(kept) == []
    lock(small="3")
    assert changed(kept) == ["data/tuned"]


def test_saving_again_keeps_what_is_to_be_prepared(lock, tmp_path, monkeypatch):
    path = tmp_path / "train.md"
    results.write(path, Result(["pip install peer", "python -m benchmarks.train"]))
    monkeypatch.setattr("sys.argv", ["train.py", "--steps", "1"])
    publish(path, "benchmarks.train", "| a |")
    assert read(path).commands == ["pip install peer", "python -m benchmarks.train --steps 1"]


def test_an_out_that_no_stage_has_is_refused(lock):
    with pytest.raises(DataError, match="expected an out data/other"):
        results.fingerprint("data/other")
    assert results.known(results.Path("data/other"), results.Path("data/tuned")) == ["data/tuned"]


def test_a_file_that_is_no_result_is_refused(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("| a |\n")
    with pytest.raises(DataError, match="expected a head"):
        read(path)


FOUND = Result(["run it"], "a machine", "2026-01-02", text="| a |", figures={"loss": 0.254, "took": "3 min"})


def test_blocks_and_numbers_are_written_into_pages():
    lost, took = "<!-- n: a.loss | *100 .0f -->", "<!-- n: a.took -->"
    page = f"<!-- a -->\nold\n<!-- /a -->\nlost {lost}9<!-- /n --> in {took}<!-- /n -->"
    new = f"<!-- a -->\n| a |\n<!-- /a -->\nlost {lost}25<!-- /n --> in {took}3 min<!-- /n -->"
    assert written("README.md", page, {"a": FOUND}) == new
    assert written("README.md", new, {"a": FOUND}) == new
    beside = written(BENCHMARKS, page, {"a": FOUND})
    assert "    run it\n\n| a |\n\n<sub>2026-01-02; a machine.</sub>" in beside


def test_what_is_to_be_measured_says_so():
    due = {"a": Result(["run it"])}
    assert "    run it\n\nNot measured" in written(BENCHMARKS, "<!-- a -->\n| old |\n<!-- /a -->", due)
    assert written("README.md", "<!-- n: a.loss -->9<!-- /n -->", due) == "<!-- n: a.loss -->?<!-- /n -->"


def test_a_number_of_a_metric_is_found_by_its_path():
    sources = {"models": {"small": {"tuned": {"macro_f1": 0.78512}}}}
    assert figure("models.small.tuned.macro_f1", ".3f", False, sources, "here") == "0.785"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- b -->\n<!-- /b -->", "expected results/b.md"),
        ("<!-- n: a.gain -->0<!-- /n -->", "README.md, a.gain: expected a number"),
        ("<!-- n: b.gain -->0<!-- /n -->", "README.md, b.gain: expected a number"),
        ("<!-- n: a.took | .3f -->0<!-- /n -->", "Give another format"),
    ],
)
def test_what_is_not_there_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        written("README.md", text, {"a": FOUND})


def test_the_command_writes_pages_and_names_what_is_due(tmp_path, monkeypatch):
    for name in ("metrics", "docs", "benchmarks"):
        (tmp_path / name).mkdir()
    (tmp_path / "metrics" / "summary.md").write_text("# Summary\n\n| new |\n")
    (tmp_path / "README.md").write_text("<!-- result -->\n| old |\n<!-- /result -->\n")
    for name in (BENCHMARKS, write.CHINESE):
        (tmp_path / name).write_text("nothing\n")
    monkeypatch.setattr(write, "ROOT", tmp_path)
    monkeypatch.setattr(write, "read_all", lambda: {"a": Result(["run it"])})
    done = CliRunner().invoke(write.main)
    assert done.output == "README.md: written\ndue: a\n    run it\n"
    assert (tmp_path / "README.md").read_text() == "<!-- result -->\n| new |\n<!-- /result -->\n"


def test_rounds_shows_some_lines_of_the_diff():
    printed = (
        "Path                     Metric       abc1234    def5678    Change\n"
        "metrics/annotation.json  adjudicated  0          113        113\n"
        "metrics/annotation.json  unsure       0          2          2\n"
    )
    assert rounds.shown(printed).splitlines() == [
        "Path                     Metric       round 1  round 2  Change",
        "metrics/annotation.json  adjudicated  0        113      113",
    ]
