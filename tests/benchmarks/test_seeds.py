"""Further chats have models of their own, and their tables say what theirs scored."""

import pytest

from benchmarks.seeds import Result, baselines_table, figures_of, gains_table, give_own_seeds, shifted, slopes_table
from chatladder.io.params import read_yaml

SLOPES = {name: {"slope": 0.03, "slope_lo": 0.01, "slope_hi": 0.05} for name in ("auroc", "precision")}


def result(seed, low=0.05, **more):
    tuned = {"macro_f1": 0.8, "macro_f1_sd": 0.012, "pairs_right": 0.61}
    gain = {"macro_f1": 0.1, "macro_f1_lo": low, "macro_f1_hi": 0.15}
    models = {"small": {"vanilla": {"macro_f1": 0.7}, "tuned": tuned, "gain": gain}, "floor": {"macro_f1": 0.31}}
    scaling = {**SLOPES, "items": 2028, "gate": "pass"}
    return Result(seed, {"questions": 2232}, {**models, "test_items": 474, **more}, scaling)


@pytest.mark.parametrize(("own", "second"), [([0, 1, 2], [6, 7, 8]), ("0,1,2", "6,7,8"), ([0], [2])])
def test_no_chat_shares_a_seed(own, second):
    assert shifted(own, 0) == own
    assert shifted(own, 2) == second


def test_the_copy_gets_seeds_of_its_own_and_stays_as_it_is_else(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(
        'pretraining:\n  seeds: [0, 1]   # one model each\ntrain:\n  seeds: "0,1"\n  learning_rate: 4.0e-3\n'
    )
    give_own_seeds(params, 1)
    content = read_yaml(params)
    assert content["pretraining"]["seeds"] == [2, 3]
    assert content["train"]["seeds"] == "2,3"
    assert "learning_rate: 4.0e-3" in params.read_text()


def test_tables_hold_one_row_a_rung_and_a_chat():
    baselines = {"baselines": {"line": {"macro_f1": 0.72}, "trees": {"macro_f1": 0.74}}}
    results = [result(2405), result(2406, low=-0.01, **baselines)]
    assert gains_table(results).splitlines()[2] == (
        "| 2405 | small | 0.700 | 0.800 ± 0.012 | +0.100 [+0.050, +0.150] | 0.610 |"
    )
    assert baselines_table(results).splitlines()[2:] == ["| 2405 | 0.800 |  |  |", "| 2406 | 0.800 | 0.720 | 0.740 |"]
    assert "| 2406 | 2,232 | 2,028 | 474 | +0.030 [+0.010, +0.050] |" in slopes_table(results)
    assert figures_of(results) == {"chats": 2, "cells": 2, "gains_above_zero": 1, "gates_passed": 2}
