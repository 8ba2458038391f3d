import json

import numpy as np
import pytest
from click.testing import CliRunner
from score_rows import write_base, write_labelled, write_predictions

from stages.calibrate import calibration, main
from stages.statistics.intervals import bootstrap
from stages.statistics.predictions import Items, Predictions, Rung
from stages.statistics.scores import NEEDED


@pytest.fixture
def run(tmp_path):
    """Make rungs from (key, params, skill, bias), then run the stage on them."""
    rows = write_labelled(tmp_path / "labelled.parquet", conversations=200)

    def calibrate(*rungs):
        for seed, (key, params, skill, bias) in enumerate(rungs):
            write_base(tmp_path / "bases", key, params)
            write_predictions(tmp_path / "vanilla" / f"{key}.parquet", rows, skill, bias, seed)
        options = [f"--rung={key}" for key, *_ in rungs]
        for name in ("bases", "vanilla"):
            options.append(f"--{name}={tmp_path / name}")
        options += [
            f"--labelled={tmp_path / 'labelled.parquet'}",
            f"--metrics={tmp_path / 'calibration.json'}",
        ]
        return CliRunner().invoke(main, [*options, "--draws=300", "--seed=0"])

    return calibrate


def found(tmp_path):
    return json.loads((tmp_path / "calibration.json").read_text())


def test_scores_that_grow_with_size_have_a_slope_above_zero(run, tmp_path):
    result = run(("small", 1_000, 0.2, 0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.6, 0))
    assert result.exit_code == 0, result.output
    assert "per doubling, over 3 rungs and 800 items" in result.output
    metrics = found(tmp_path)
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
    sample = bootstrap(items.conversations, 200, 0)
    held = 0
    for _ in range(80):
        answers = []
        for _ in rungs:
            log_odds = np.where(items.references == NEEDED, 0.6, -0.6) + generator.normal(size=400)
            codes = np.where(log_odds > 0, NEEDED, 1 - NEEDED)
            answers.append(Predictions(codes, log_odds, np.zeros(400), np.ones(400, dtype=bool), 0.0))
        slope = calibration(items, sample, rungs, answers)["macro_f1"]
        held += slope["slope_lo"] <= 0 <= slope["slope_hi"]
    assert 0.88 <= held / 80 <= 0.99


def test_centring_sees_growth_that_a_rungs_own_leaning_hides(run, tmp_path):
    # The small one answers "needed" only when it is very sure, so its precision is high for a bad reason.
    run(("small", 1_000, 0.5, -3.0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.1, 1.5))
    metrics = found(tmp_path)
    assert metrics["precision"]["slope"] < 0 < metrics["centred"]["precision"]["slope_lo"]


def test_one_rung_is_an_error(run, tmp_path):
    result = run(("small", 1_000, 0.5, 0))
    assert result.exit_code == 1
    assert "slope: expected rungs of at least two sizes, got [1000]" in result.output
    assert not (tmp_path / "calibration.json").exists()
