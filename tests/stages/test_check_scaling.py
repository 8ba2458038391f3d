import csv
import json
import shlex
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from score_rows import write_base, write_labelled, write_params, write_predictions

from chatladder.evaluation.predictions import Items, Predictions
from chatladder.evaluation.rungs import Ladder, Rung
from chatladder.evaluation.scaling_check import scaling_check
from chatladder.evaluation.scores import NEEDED, Draws, bootstrap
from stages.check_scaling import main

FILES = {"labelled": "labelled.parquet", "params": "params.yaml"}


@pytest.fixture
def run(tmp_path):
    """Make rungs from (key, params, skill, bias), then run the stage on them."""
    rows = write_labelled(tmp_path / "labelled.parquet", conversations=200)

    def check_scaling(*rungs, options=(), served=()):
        for folder in ("bases", "vanilla"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        for seed, (key, params, skill, bias, *active) in enumerate(rungs):
            write_base(tmp_path / "bases", key, params)
            if active:
                path = tmp_path / "bases" / key / "rung.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), "active_params": active[0]}))
            write_predictions(tmp_path / "vanilla" / f"{key}.parquet", rows, skill, bias, seed)
        write_params(tmp_path / "params.yaml", [key for key, *_ in rungs if key not in served], served)
        return again(options)

    def again(options=(), metrics="scaling.json"):
        folders = [f"--{name}={tmp_path / name}" for name in ("bases", "vanilla")]
        files = [f"--{name}={tmp_path / file}" for name, file in FILES.items()]
        return CliRunner().invoke(
            main, [*folders, *files, f"--metrics={tmp_path / metrics}", "--draws=300", "--seed=0", *options]
        )

    check_scaling.again = again

    return check_scaling


def found(tmp_path):
    return json.loads((tmp_path / "scaling.json").read_text())


def test_scores_that_grow_with_size_have_a_slope_above_zero(run, tmp_path):
    result = run(("small", 1_000, 0.2, 0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.6, 0))
    assert result.exit_code == 0, result.output
    assert "gate pass over 3 rungs and 800 items" in result.output
    assert "gate: PASS. Precision grows with size" in result.output
    metrics = found(tmp_path)
    assert (metrics["gate"], metrics["gate_code"]) == ("pass", 1)
    assert (metrics["items"], metrics["conversations"], metrics["rungs"]) == (800, 200, 3)
    for slope in (
        metrics["precision"],
        metrics["macro_f1"],
        metrics["auroc"],
        metrics["centred"]["precision"],
    ):
        assert 0 < slope["slope_lo"] < slope["slope"] < slope["slope_hi"]


def test_without_growth_the_interval_holds_zero_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    items = Items([], [f"c{item // 4}" for item in range(400)], generator.integers(0, 2, 400))
    rungs = [Rung("small", 1_000), Rung("medium", 4_000), Rung("large", 16_000)]
    sample = bootstrap(items.conversations, Draws(0, 200))
    held = 0
    for _ in range(80):
        answers = []
        for _ in rungs:
            log_odds = np.where(items.references == NEEDED, 0.6, -0.6) + generator.normal(size=400)
            codes = np.where(log_odds > 0, NEEDED, 1 - NEEDED)
            answers.append(Predictions(codes, log_odds, np.zeros(400), np.ones(400, dtype=bool), 0.0))
        metrics, _ = scaling_check(items, sample, Ladder(rungs, {}), answers)
        slope = metrics["macro_f1"]
        held += slope["slope_lo"] <= 0 <= slope["slope_hi"]
    assert 0.88 <= held / 80 <= 0.99


def test_centring_sees_growth_that_a_rungs_own_leaning_hides(run, tmp_path):
    # The small one answers "needed" only when it is very sure, so its precision is high for a bad reason.
    run(("small", 1_000, 0.5, -3.0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.1, 1.5))
    metrics = found(tmp_path)
    assert metrics["precision"]["slope"] < 0 < metrics["centred"]["precision"]["slope_lo"]
    # The gate goes by the answers as they are; the other verdict stands beside it.
    assert metrics["gate"] == metrics["precision"]["verdict"] == "fail"
    assert metrics["centred"]["precision"]["verdict"] == "pass"


def test_one_rung_is_an_error(run, tmp_path):
    result = run(("small", 1_000, 0.5, 0))
    assert result.exit_code == 1
    assert "slope: expected rungs of at least two sizes, got [1000]" in result.output
    assert not (tmp_path / "scaling.json").exists()


def test_a_reversed_ladder_fails_the_gate_and_not_the_stage(run, tmp_path):
    result = run(("small", 1_000, 1.6, 0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 0.2, 0))
    assert result.exit_code == 0, result.output
    assert "gate: FAIL. Precision falls credibly with size: large against small -0." in result.output
    metrics = found(tmp_path)
    assert (metrics["gate"], metrics["gate_code"], metrics["precision"]["kendall_tau"]) == ("fail", -1, -1.0)
    worst = metrics["precision"]["worst_pair"]
    assert (worst["smaller"], worst["larger"]) == ("small", "large")
    assert worst["difference_lo"] < worst["difference"] < worst["difference_hi"] < 0
    assert metrics["precision"]["isotonic_residual"] > 0.05
    assert metrics["page_p"] > 0.95


def test_a_mixture_of_experts_is_shown_and_left_out_of_the_fit(run, tmp_path):
    dense = (("small", 1_000, 0.2, 0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.6, 0))
    run(*dense)
    without = found(tmp_path)
    # Far below what its size would promise; its share of the parameters at work does not save it.
    result = run(*dense, ("mixture", 64_000, 0.0, 0, 8_000), options=[f"--plots={tmp_path / 'plots'}"])
    assert result.exit_code == 0, result.output
    assert "mixture: precision 0." in result.output
    assert "shown, not fitted: a mixture of experts, 64,000 parameters, 8,000 a token" in result.output
    metrics = found(tmp_path)
    shown = metrics.pop("mixtures")["mixture"]
    assert metrics == without
    assert (shown["params"], shown["active_params"]) == (64_000, 8_000)
    assert shown["precision_lo"] < shown["precision"] < shown["precision_hi"]
    with (tmp_path / "plots" / "rungs.csv").open() as rows:
        rungs = list(csv.DictReader(rows))
    assert len(rungs) == 2 * 3 * 4
    assert [row["rung"] for row in rungs if row["kind"] == "mixture"] == ["mixture"] * 6
    assert all(float(row["lo"]) < float(row["value"]) < float(row["hi"]) for row in rungs)


@pytest.mark.parametrize("active", [0, 1_001, "900", True, None])
def test_active_parameters_that_cannot_be_are_an_error(run, active):
    result = run(("small", 1_000, 0.5, 0, active), ("large", 4_000, 0.5, 0))
    assert result.exit_code == 1
    assert f'expected "active_params" from 1 to its 1,000 parameters, got {active!a}' in result.output


def test_one_dense_rung_among_mixtures_is_an_error(run, tmp_path):
    result = run(("small", 1_000, 0.5, 0), ("mixture", 4_000, 0.5, 0, 500))
    assert result.exit_code == 1
    assert "two sizes, got [1000] beside 1 mixture(s) of experts, which are not fitted" in result.output
    assert not (tmp_path / "scaling.json").exists()


def test_all_parameters_at_work_make_a_dense_rung(run, tmp_path):
    assert run(("small", 1_000, 0.2, 0, 1_000), ("large", 4_000, 0.9, 0)).exit_code == 0
    assert "mixtures" not in found(tmp_path)
    assert found(tmp_path)["page_p"] is None  # not defined for two


def test_a_ladder_that_never_answers_needed_has_no_slope_of_precision(run, tmp_path):
    rungs = (("small", 1_000, 0.2, -8), ("large", 4_000, 0.9, -8), ("mixture", 9_000, 0.9, -8, 100))
    result = run(*rungs, options=[f"--plots={tmp_path / 'plots'}"])
    assert result.exit_code == 0, result.output
    assert "Precision is not defined for small, large" in result.output
    assert "mixture: precision not defined" in result.output
    metrics = found(tmp_path)
    assert (metrics["gate"], metrics["precision"]["slope"], metrics["precision"]["kendall_tau"]) == (
        "inconclusive",
        None,
        None,
    )
    assert metrics["mixtures"]["mixture"]["precision"] is None
    assert metrics["centred"]["precision"]["slope"] > 0
    assert "raw,precision" not in (tmp_path / "plots" / "rungs.csv").read_text()


def test_equal_seeds_write_equal_bytes(run, tmp_path):
    rungs = (("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))
    written = []
    for seed in (0, 0, 1):
        run(*rungs, options=[f"--plots={tmp_path / 'plots'}", f"--seed={seed}"])
        files = [tmp_path / "scaling.json", *sorted((tmp_path / "plots").iterdir())]
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    assert written[0][0] != written[2][0]


def damaged(path, column, values):
    """The parquet file with other values in one of its columns."""
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, values(table.num_rows)), path)


@pytest.mark.parametrize("name", ["labelled", "vanilla/small"])
def test_ids_that_are_no_utf8_are_an_error_that_names_the_file(run, tmp_path, name):
    rungs = (("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))
    run(*rungs)
    path = tmp_path / f"{name}.parquet"
    damaged(path, "item_id", lambda rows: pa.array([b"\xff"] * rows, pa.binary()).view(pa.string()))
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert f"{path}: expected texts in UTF-8" in result.output
    assert not (tmp_path / "again.json").exists()


def test_an_unknown_label_is_an_error_that_names_the_file(run, tmp_path):
    damaged(tmp_path / "labelled.parquet", "label", lambda rows: pa.array(["maybe"] * rows))
    result = run(("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))
    assert result.exit_code == 1
    assert f"{tmp_path / 'labelled.parquet'}: expected needed or not_needed, got 'maybe'" in result.output


TWO = (("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))


def test_a_served_rung_counts_like_one_of_the_ladder(run, tmp_path):
    run(*TWO)
    before = found(tmp_path)
    result = run(*TWO, served=["large"])
    assert result.exit_code == 0, result.output
    assert found(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("bases/small", "base@small"),
        ("bases/large", "predict_served@large"),
        ("vanilla/small.parquet", "predict_vanilla@small"),
        ("vanilla/large.parquet", "predict_served@large"),
    ],
)
def test_a_rung_that_is_missing_is_refused_with_the_stage_to_run(run, tmp_path, path, stage):
    run(*TWO, served=["large"])
    (tmp_path / path).rename(tmp_path / "aside")
    rung = stage.partition("@")[2]
    message = f"{tmp_path / path}: expected rung {rung}, which {tmp_path / 'params.yaml'} names, got nothing. "
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert f'{message}In a fresh clone run "dvc pull", else "dvc repro {stage}".' in result.output
    assert not (tmp_path / "again.json").exists()


@pytest.mark.parametrize("path", ["bases/old", "vanilla/old.parquet", "vanilla/old one's.txt"])
def test_a_rung_that_is_left_over_is_refused_with_the_command_that_deletes_it(run, tmp_path, path):
    run(*TWO)
    left = tmp_path / path
    left.mkdir() if left.suffix == "" else left.write_text("")
    (tmp_path / "vanilla" / ".gitignore").write_text("/small.parquet\n")
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert f"{left}: expected only the rungs that {tmp_path / 'params.yaml'} names here (small, large)" in result.output
    assert f"delete it: rm -r {shlex.quote(str(left))} (it is derived; DVC's cache has it)" in result.output
    assert not (tmp_path / "again.json").exists()
    left.rmdir() if left.suffix == "" else left.unlink()
    assert run.again(metrics="again.json").exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ladder: {small: {}, large: {}}", "expected the section served"),
        ("ladder: [small, large]\nserved: {}", "ladder: expected a section"),
        ("ladder: {small: {}, large: {}}\nserved: {large: {}}", "rung large: expected each rung once, got it 2 times"),
        ("ladder: {../small: {}, large: {}}\nserved: {}", "expected a letter, then letters, digits and underscores"),
    ],
)
def test_params_without_rungs_are_refused(run, tmp_path, content, message):
    run(*TWO)
    (tmp_path / "params.yaml").write_text(content)
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "again.json").exists()
