"""What the committed demo shows: models that match questions to what was said, and no cheap rule that comes near."""

from chatladder.io.files import read_json
from tests.conftest import ROOT

MODELS = read_json(ROOT / "metrics" / "models.json")
RUNGS = {key: value for key, value in MODELS.items() if isinstance(value, dict) and "tuned" in value}


def test_no_rule_count_or_classifier_of_words_comes_within_five_points_of_the_best_tuned_rung():
    best = max(rung["tuned"]["macro_f1"] for rung in RUNGS.values())
    assert best >= 0.75
    cheap = {name: scores["macro_f1"] for name, scores in MODELS["baselines"].items()}
    assert {"naming", "counts", "line", "trees"} <= {*cheap}
    assert max(cheap.values()) <= best - 0.05, cheap


def test_every_rung_is_a_mean_of_three_seeds_and_the_best_gets_most_contrast_pairs_right():
    assert all(rung["tuned"]["macro_f1_sd"] is not None and rung["tuned"]["seeds"] == 3 for rung in RUNGS.values())
    assert MODELS["test_pairs"] >= 100
    assert max(rung["tuned"]["pairs_right"] for rung in RUNGS.values()) > 0.6
    assert all(scores["pairs_right"] < 0.3 for scores in MODELS["baselines"].values())
