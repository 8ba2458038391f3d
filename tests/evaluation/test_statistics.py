import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from chatladder.evaluation.scores import (
    METRICS,
    NEEDED,
    NOT_NEEDED,
    UNKNOWN,
    Draws,
    answer_scores,
    auroc,
    auroc_of,
    bootstrap,
    clustered_variance,
    interval,
    over_seeds,
    precision_of,
    scores,
)
from chatladder.io.console import DataError


def single_scores(references, answers, evidence):
    """The scores of one set of items, each counted once."""
    together = np.zeros(len(references), dtype=np.int64)
    values = scores(np.array(references), np.array(answers), np.array(evidence, float), together, np.ones((1, 1)))
    return {metric: value[0] for metric, value in values.items()}


def by_sklearn(references, answers, evidence, weights):
    both = {"labels": [NEEDED, NOT_NEEDED], "average": None, "zero_division": 0, "sample_weight": weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1 = sk.f1_score(references, answers, **both)
        return {
            "precision": sk.precision_score(references, answers, **both)[0],
            "recall": sk.recall_score(references, answers, **both)[0],
            "f1": f1[0],
            "macro_f1": f1.mean(),
            "balanced_accuracy": sk.recall_score(references, answers, **both).mean(),
            "mcc": sk.matthews_corrcoef(references, answers, sample_weight=weights),
            "unknown": np.average(answers == UNKNOWN, weights=weights),
            "auroc": sk.roc_auc_score(references == NEEDED, evidence, sample_weight=weights),
        }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60), st.booleans())
def test_scores_equal_scikit_learns_under_any_weights(seed, count, with_unknown):
    generator = np.random.default_rng(seed)
    references = generator.integers(0, 2, count)
    references[:2] = NEEDED, NOT_NEEDED
    answers = generator.integers(0, 3 if with_unknown else 2, count)
    evidence = generator.integers(0, 5, count).astype(float)  # few values: many ties
    clusters = generator.integers(0, 7, count)
    weights = np.concatenate([np.ones((1, 7)), generator.integers(1, 4, (3, 7))]).astype(float)
    ours = scores(references, answers, evidence, clusters, weights)
    for draw, by_cluster in enumerate(weights):
        theirs = by_sklearn(references, answers, evidence, by_cluster[clusters])
        for metric in METRICS:
            assert ours[metric][draw] == pytest.approx(theirs[metric], abs=1e-9), metric


def test_fault_3_an_unknown_answer_is_never_guessed():
    references = [NEEDED, NEEDED, NOT_NEEDED, NOT_NEEDED]
    found = single_scores(references, [NEEDED, UNKNOWN, NOT_NEEDED, UNKNOWN], [1, 0, -1, 0])
    assert found["unknown"] == 0.5
    # Counted against the recall of its own class, whichever that is, and towards no class's precision.
    assert found["recall"] == 0.5
    assert found["balanced_accuracy"] == 0.5
    assert found["precision"] == 1.0
    nothing = single_scores(references, [UNKNOWN] * 4, [0, 0, 0, 0])
    assert {name: value for name, value in nothing.items() if value} == {"unknown": 1.0, "auroc": 0.5}


def test_always_needed_is_worth_nothing_beyond_chance():
    found = single_scores([NEEDED] * 55 + [NOT_NEEDED] * 45, [NEEDED] * 100, [0] * 100)
    assert found["f1"] == pytest.approx(0.70968, abs=1e-5)
    assert (found["mcc"], found["balanced_accuracy"], found["auroc"]) == (0, 0.5, 0.5)


def test_scores_of_nothing_or_of_unequal_lengths_are_an_error():
    for references, answers in (([], []), ([NEEDED], [])):
        with pytest.raises(DataError, match="expected one answer for each label"):
            single_scores(references, answers, answers)


def test_conversations_are_drawn_whole_and_from_a_seed():
    names = ["a", *"abcdefghij"]
    sample = bootstrap(names, Draws(3, 200))
    assert sample.clusters.tolist() == [0, *range(10)]
    assert sample.weights[0].tolist() == [1] * 10
    assert (sample.weights[1:].sum(axis=1) == 10).all()
    assert (bootstrap(names, Draws(3, 200)).weights == sample.weights).all()
    assert (bootstrap(names, Draws(4, 200)).weights != sample.weights).any()


def test_fewer_than_ten_conversations_give_no_interval():
    sample = bootstrap(["a", *"abcdefghi"], Draws(0, 100))
    assert sample.weights.tolist() == [[1] * 9]
    found = interval(np.array([0.7]))
    assert found.named("f1") == {"f1": 0.7, "f1_lo": None, "f1_hi": None}
    assert over_seeds(np.array([[0.6], [0.8]]), 9).named("f1") == {
        "f1": 0.7, "f1_lo": None, "f1_hi": None, "f1_sd": pytest.approx(0.14142)
    }  # fmt: skip


def test_one_seed_has_the_interval_of_the_bootstrap_and_no_spread():
    values = np.random.default_rng(0).normal(0.7, 0.02, (1, 500))
    assert over_seeds(values, 50).named("f1") == interval(values[0]).named("f1")


def test_an_interval_over_seeds_covers_the_mean_over_seeds_and_conversations_that_are_not_there():
    """Scores of a few seeds, each with luck of its own, on conversations with theirs; the truth is 0."""
    generator = np.random.default_rng(4)
    covered = {"seeds": 0, "both": 0}
    for _ in range(800):
        of_items = generator.normal(0, 0.03)
        draws = of_items + generator.normal(0, 0.03, 400)
        for name, spread in (("seeds", 0.04), ("both", 0.0)):
            luck = generator.normal(0, spread, (3, 1))
            found = over_seeds(np.hstack([of_items + luck, draws + luck]), 100).mean
            covered[name] += found.lo <= 0 <= found.hi
    assert 0.93 <= covered["both"] / 800 <= 0.975
    assert 0.93 <= covered["seeds"] / 800 <= 0.985


def test_seeds_that_agree_to_the_last_digit_have_no_width_of_their_own():
    values = np.full((3, 200), 0.5)
    assert over_seeds(values, 20).named("f1") == {"f1": 0.5, "f1_lo": 0.5, "f1_hi": 0.5, "f1_sd": 0.0}


def test_items_without_evidence_say_nothing_for_either_label():
    """Placed anywhere among the others they would rank, and a model be paid or punished for saying nothing."""
    references = np.array([NEEDED] * 10 + [NOT_NEEDED] * 10)
    evidence = np.array([2.0] * 5 + [1.0] * 5 + [np.nan] * 10)  # of the items that are not needed nothing is known
    clusters, weights = np.arange(20) % 4, np.ones((1, 4))
    assert auroc(references, evidence, clusters, weights).tolist() == [0.5]
    assert auroc_of(references, evidence)[0] == 0.5
    evidence[10:15] = 0.0  # half of them are known now, and ranked rightly
    assert auroc(references, evidence, clusters, weights).tolist() == [0.75]
    area, added = auroc_of(references, evidence)
    assert area == 0.75
    assert added.sum() == pytest.approx(0, abs=1e-12)
    assert auroc(references, np.full(20, np.nan), clusters, weights).tolist() == [0.5]


def test_both_ways_to_an_auroc_agree_where_evidence_is_missing():
    generator = np.random.default_rng(5)
    references = generator.integers(0, 2, 300)
    evidence = np.where(generator.random(300) < 0.3, np.nan, generator.integers(0, 4, 300) - references)
    clusters = generator.integers(0, 12, 300)
    area, added = auroc_of(references, evidence)
    assert auroc(references, evidence, clusters, np.ones((1, 12)))[0] == pytest.approx(area)
    known = ~np.isnan(evidence)
    assert 0.5 < area < sk.roc_auc_score(references[known] == NEEDED, evidence[known])
    assert added.sum() == pytest.approx(0, abs=1e-9)


def test_items_that_stand_and_fall_together_widen_the_interval():
    generator = np.random.default_rng(0)
    right = np.repeat(generator.random(100) < 0.7, 5)
    references = np.tile([NEEDED, NOT_NEEDED], 250)
    answers = np.where(right, references, 1 - references)
    widths = []
    for conversations in ([f"c{item // 5}" for item in range(500)], [f"c{item}" for item in range(500)]):
        sample = bootstrap(conversations, Draws(0, 1_000))
        found = scores(references, answers, np.zeros(500), sample.clusters, sample.weights)
        limits = interval(found["f1"])
        widths.append(limits.hi - limits.lo)
    # Five items that always agree are worth one: sqrt(5) wider.
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(5), rel=0.15)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        right = generator.random(300) < 0.75
        references = generator.integers(0, 2, 300)
        sample = bootstrap([f"c{item}" for item in range(300)], Draws(0, 300))
        answers = np.where(right, references, 1 - references)
        found = scores(references, answers, np.zeros(300), sample.clusters, sample.weights)
        limits = interval(found["balanced_accuracy"])
        covered += limits.lo <= 0.75 <= limits.hi
    assert 0.89 <= covered / 150 <= 0.99


def test_influences_give_the_spread_that_a_bootstrap_of_conversations_has():
    generator = np.random.default_rng(3)
    names = [f"c{item // 5}" for item in range(600)]
    common = np.repeat(generator.normal(size=120), 5)
    references = generator.integers(0, 2, 600)
    evidence = (references == NEEDED) * 0.7 + 0.6 * common + generator.normal(size=600)
    answers = np.where(evidence > 0.3, NEEDED, NOT_NEEDED)
    sample = bootstrap(names, Draws(0, 2000))
    area, added = auroc_of(references, evidence)
    assert area == pytest.approx(sk.roc_auc_score(references == NEEDED, evidence))
    assert added.sum() == pytest.approx(0, abs=1e-9)
    drawn = auroc(references, evidence, sample.clusters, sample.weights)
    assert clustered_variance(added, sample.clusters) ** 0.5 == pytest.approx(drawn[1:].std(), rel=0.06)
    precision, added = precision_of(references, answers)
    drawn = answer_scores(references, answers, sample.clusters, sample.weights)["precision"]
    assert precision == pytest.approx(drawn[0])
    assert clustered_variance(added, sample.clusters) ** 0.5 == pytest.approx(drawn[1:].std(), rel=0.06)


def test_without_an_answer_needed_there_is_no_precision():
    precision, added = precision_of(np.array([NEEDED, NOT_NEEDED]), np.array([NOT_NEEDED, NOT_NEEDED]))
    assert np.isnan(precision)
    assert np.isnan(added).all()
