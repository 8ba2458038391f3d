import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from click.testing import CliRunner

from chatladder.evaluation.scores import METRICS
from chatladder.evaluation.summary import short_count
from chatladder.io.files import write_csv
from stages.summarize import main
from tests.conftest import ROOT, copy_code


def with_interval(name, value):
    return {name: value, f"{name}_lo": value - 0.04, f"{name}_hi": value + 0.04}


def kind(value, seeds=1):
    scores = {"seeds": seeds} | ({"macro_f1_sd": 0.012} if seeds > 1 else {})
    for metric in (*METRICS, "pairs_right"):
        scores |= with_interval(metric, value)
    return scores


def rung(params, value, above=0.3):
    gain = with_interval("auroc", 0.2) | with_interval("f1", 0.1)
    return {
        "above_baselines": {"best": "counts"} | with_interval("macro_f1", above),
        "params": params,
        "vanilla": kind(value),
        "centred": kind(value),
        "tuned": kind(value + 0.2, seeds=3),
        "gain": gain,
    }


@pytest.fixture
def files(tmp_path):
    slope = with_interval("slope", 0.05)
    said = with_interval("points", 12.0) | {"power": 0.9}
    unsure = {"points": None, "points_lo": None, "points_hi": None, "power": 0.2}
    contents = {
        "questions": {"raw_lines": 58_000, "questions": 2_302},
        "annotation": {
            "round": 2, "needed": 1_100, "not_needed": 900, "disagreed": 9, "orphaned": 0, "kappa": 0.71,
        },
        "scaling": {
            "gate": "fail", "auroc": slope, "precision": slope, "models": 6,
            "label_sets": {
                "li against wu": {"untouched": unsure, "out_of_fold": said},
                "round 2 against round 1": {"untouched": unsure},
            },
        },
        "models": {
            "large": rung(1_118_208, 0.6), "tiny": rung(17_024, 0.4, above=0.03),
            "floor": kind(0.3), "baselines": {name: kind(0.5) for name in ("naming", "counts", "line", "trees")},
            "test_items": 500, "test_needed": 275, "test_conversations": 90, "test_pairs": 31,
        },
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return [f"--metrics={tmp_path}", f"--out={tmp_path / 'summary.md'}"]


def test_summarize_prints_and_writes_the_table_sizes_ascending(files, tmp_path):
    result = CliRunner().invoke(main, files)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    table = lines[1:11]
    assert table[0].split() == ["untouched", "tuned"]
    cells = ["17.0 k", "0.400", *["0.600"] * 4, "0.600 ± 0.012", "+0.030 [-0.010, +0.070]", "0.600"]
    assert re.split(r" {2,}", table[3]) == ["tiny *", *cells]
    assert table[4].startswith("large               1.12 M")
    names = ("always needed", "naming rule", "fifteen counts", "words: line", "words: trees")
    for line, name in zip(table[5:], names, strict=True):
        assert line.startswith(name)
    assert max(len(line) for line in table) <= 120
    written = (tmp_path / "summary.md").read_text()
    assert f"| tiny \\* | {' | '.join(cells)} |" in written
    assert "| fifteen counts |  |  | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 |  | 0.500 |" in written
    assert "58,000 raw lines, 2,302 questions, 2,000 labelled in 2 round(s) (kappa 0.71, 9 disagreed" in written
    assert '500 test items, which no model was trained on; 55.0% "needed"' in written
    assert "means over 3 seeds (± their standard deviation)" in written
    assert "Errors in 100 labels, wu less li: +12.0 [+12.0, +12.0], by the same out-of-fold models" in written
    assert "round 2" not in written  # too little to say anything
    assert "scaling law: fail. AUROC of 6 untouched models +0.050 [+0.010, +0.090] per doubling; precision" in written


def change(tmp_path, **values):
    path = tmp_path / "models.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_rung_that_is_not_above_the_best_baseline_is_named_under_the_table(files, tmp_path):
    result = CliRunner().invoke(main, files)
    assert "\n* not above the best baseline: tiny.\n" in result.output
    assert "\n\\* not above the best baseline: tiny.\n" in (tmp_path / "summary.md").read_text()


def test_the_gain_that_no_threshold_has_a_part_in_is_named_under_the_table(files, tmp_path):
    large = rung(1_118_208, 0.6)
    large["gain"] |= {"auroc": None, "auroc_lo": None, "auroc_hi": None}
    change(tmp_path, large=large)
    expected = "LoRA's gain in AUROC, which needs no threshold: tiny +0.200 [+0.160, +0.240], large not defined."
    assert expected in CliRunner().invoke(main, files).output


def test_the_scores_without_a_threshold_are_named_under_the_table(files, tmp_path):
    assert "decided at thresholds" not in CliRunner().invoke(main, files).output
    large = rung(1_118_208, 0.6)
    large["tuned"] |= {"thresholds": {"0": None, "1": 0.0}, "macro_f1_argmax": 0.364}
    change(tmp_path, large=large)
    said = "Macro-F1 of the most probable options without them: large 0.364."
    assert said in CliRunner().invoke(main, files).output
    assert said in (tmp_path / "summary.md").read_text()


def test_pairs_are_a_column_where_there_are_enough(files, tmp_path):
    assert "of 31 pairs of test questions in the same words" in CliRunner().invoke(main, files).output
    change(tmp_path, test_pairs=19)
    output = CliRunner().invoke(main, files).output
    assert "pairs right" not in output.lower()
    assert "0.600 ± 0.012  +0.030 [-0.010, +0.070]\n" in output


def test_scores_without_an_interval_say_why(files, tmp_path):
    alone = rung(1_118_208, 0.6)
    alone["above_baselines"] |= {"macro_f1_lo": None, "macro_f1_hi": None}
    change(tmp_path, large=alone, test_conversations=7)
    output = CliRunner().invoke(main, files).output
    assert "Too few conversations for an interval (7 of at least 10)." in output
    assert "not above the best baseline: tiny, large." in output


def test_what_it_prints_is_written_too(files, tmp_path):
    result = CliRunner().invoke(main, [*files, f"--text={tmp_path / 'summary.txt'}"])
    assert f"\n{(tmp_path / 'summary.txt').read_text()}\n" in result.output


def add_counts(tmp_path):
    """What the funnel needs beside."""
    picked = {"turns": 9_000, "questions": 2_302, "left_out": {"not_text": 6_698}}
    counts = {"items": 2_009, "not_a_question": 0, "unsure": 0, "train": 1_500, "validation": 0, "test": 500}
    for name, values in (("questions", picked), ("annotation", counts)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_funnel_is_written_beside_other_plot_data(files, tmp_path):
    write_csv(tmp_path / "plots" / "rounds.csv", ("round",), [])
    add_counts(tmp_path)
    result = CliRunner().invoke(main, [*files, f"--plots={tmp_path / 'plots'}"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plots" / "funnel.csv").read_text().splitlines()[-1] == "7,to test,splits,500,0.25,"
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["funnel.csv", "rounds.csv"]


@pytest.mark.slow
def test_a_fresh_clone_prints_the_table_and_an_idle_run_does_not(files, tmp_path, warm):
    """By real dvc: the metrics are in git and stay as they are, so what is not in git has to make the stage run."""
    folder = tmp_path / "project"
    copy_code(folder, ".dvc/config", ".dvcignore")
    (folder / "metrics" / "plots").mkdir(parents=True)
    (folder / "data").mkdir()
    add_counts(tmp_path)
    for name in ("questions", "annotation", "scaling", "models"):
        shutil.copyfile(tmp_path / f"{name}.json", folder / "metrics" / f"{name}.json")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"summarize": stages["summarize"]}}))
    (folder / "params.yaml").write_text("task: needs_history\n")

    def run(place, *command):
        environment = {**os.environ, **warm, "PYTHONPATH": str(place)}
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(folder, "git", "init", "-q")
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "The table")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(folder), str(clone))
    said = run(clone, "dvc", "repro")
    assert "fifteen counts" in said
    assert "scaling law: fail" in said
    assert run(clone, "git", "status", "--porcelain") == ""
    assert "fifteen counts" not in run(clone, "dvc", "repro")


@pytest.mark.parametrize("name", ["questions", "annotation", "scaling", "models"])
def test_metrics_that_are_missing_are_named(files, tmp_path, name):
    (tmp_path / f"{name}.json").unlink()
    result = CliRunner().invoke(main, files)
    assert result.exit_code == 1
    assert f"{name}.json: expected metrics, got no file" in result.output


def test_a_slope_that_is_not_defined_is_said_to_be_so(files, tmp_path):
    path = tmp_path / "scaling.json"
    nothing, two = (
        {"slope": None, "slope_lo": None, "slope_hi": None},
        {"slope": 0.1, "slope_lo": None, "slope_hi": None},
    )
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"gate": "inconclusive", "precision": nothing, "auroc": two})
    )
    result = CliRunner().invoke(main, files)
    assert result.exit_code == 0, result.output
    assert "inconclusive. AUROC of 6 untouched models +0.100 per doubling; precision as answered not" in result.output


def test_a_value_that_is_missing_is_named(files, tmp_path):
    (tmp_path / "questions.json").write_text('{"raw_lines": 58000}')
    result = CliRunner().invoke(main, files)
    assert result.exit_code == 1
    assert "questions.json: expected a value questions. Run the stage that writes it again." in result.output
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (17_024, "17.0 k"),
        (1_575_808, "1.58 M"),
        (494_032_768, "494 M"),
        (32_500_000_000, "32.5 B"),
        (1_040_000_000_000, "1.04 T"),
    ],
)
def test_counts_are_shown_with_three_digits(count, text):
    assert short_count(count) == text


def test_a_check_of_one_size_is_said_to_be_none(files, tmp_path):
    path = tmp_path / "scaling.json"
    nothing = {"slope": None, "slope_lo": None, "slope_hi": None}
    checked = {"gate": "inconclusive", "models": 1, "precision": nothing, "auroc": nothing}
    path.write_text(json.dumps(json.loads(path.read_text()) | checked))
    result = CliRunner().invoke(main, files)
    assert result.exit_code == 0, result.output
    assert "scaling law: not checked" in result.output
    assert "not defined" not in result.output
