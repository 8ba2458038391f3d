"""Two label sets under the same models."""

import numpy as np
import pytest

from chatladder.evaluation.label_sets import OUT_OF_FOLD, UNTOUCHED, Comparison, compare, compared_in_words, lead, lean
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Interval


def draw(seed, items=1000, shift=0.825, models=4):
    """True labels, the evidence of models of accuracy .66 (at this shift), and the conversations of the items."""
    generator = np.random.default_rng(seed)
    truth = np.where(generator.random(items) < 0.44, NEEDED, NOT_NEEDED)
    common, own = generator.normal(size=items), generator.normal(size=(models, items))
    evidence = (truth == NEEDED) * shift + np.sqrt(0.6) * common + np.sqrt(0.4) * own
    return generator, truth, evidence, [f"conversation {row // 4}" for row in range(items)]


def spoil(generator, truth, missed, invented):
    """Labels with errors: the share of needed items that are missed, and of others that are called needed."""
    wrong = generator.random(len(truth)) < np.where(truth == NEEDED, missed, invented)
    return np.where(wrong, 1 - truth, truth)


def found(worse, better, evidence, conversations):
    points = compare(np.stack([better, worse]), evidence, conversations).points
    return points is not None and points.lo > 0


def test_fifteen_points_more_errors_are_found_and_measured():
    hits, estimates = 0, []
    for seed in range(40):
        generator, truth, evidence, conversations = draw(seed)
        better, worse = spoil(generator, truth, 0.1, 0.1), spoil(generator, truth, 0.25, 0.25)
        comparison = compare(np.stack([better, worse]), evidence, conversations)
        hits += comparison.points.lo > 0
        estimates.append(comparison.points.value)
    assert hits >= 34
    assert np.mean(estimates) == pytest.approx(15, abs=3)


def test_equally_many_errors_raise_no_alarm_whatever_their_direction():
    alarms = 0
    for seed in range(60):
        generator, truth, evidence, conversations = draw(seed)
        missed, invented = spoil(generator, truth, 0.15 / 0.44, 0), spoil(generator, truth, 0, 0.15 / 0.56)
        alarms += found(missed, invented, evidence, conversations) or found(invented, missed, evidence, conversations)
    assert alarms <= 8


def test_the_luck_of_a_model_that_knows_nothing_is_no_verdict():
    generator, truth, evidence, conversations = draw(1, shift=0.0)
    comparison = compare(np.stack([truth, spoil(generator, truth, 0.3, 0.3)]), evidence, conversations)
    assert comparison.points is None
    assert comparison.power < 0.2


def test_equal_sets_differ_in_too_little():
    _, truth, evidence, conversations = draw(2)
    comparison = compare(np.stack([truth, truth]), evidence, conversations)
    assert (comparison.points, comparison.differing) == (None, 0)
    assert comparison.power > 0.8


def test_the_sides_change_the_sign_alone():
    generator, truth, evidence, conversations = draw(3)
    worse = spoil(generator, truth, 0.2, 0.2)
    one = compare(np.stack([truth, worse]), evidence, conversations).points
    other = compare(np.stack([worse, truth]), evidence, conversations).points
    assert one == pytest.approx(tuple(-end for end in (other.value, other.hi, other.lo)))


def test_the_scale_and_the_leaning_of_a_model_count_for_nothing():
    generator, truth, evidence, conversations = draw(4)
    labels = np.stack([truth, spoil(generator, truth, 0.2, 0.2)])
    moved = evidence * np.array([[1], [5], [0.1], [2]]) + np.array([[0], [9], [-3], [1]])
    assert compare(labels, moved, conversations).points == pytest.approx(
        compare(labels, evidence, conversations).points
    )


def test_among_many_pairs_each_interval_is_wider_and_the_power_less():
    generator, truth, evidence, conversations = draw(6)
    labels = np.stack([truth, spoil(generator, truth, 0.2, 0.2)])
    one, ten = (compare(labels, evidence, conversations, pairs) for pairs in (1, 10))
    assert ten.points.value == one.points.value
    assert ten.points.lo < one.points.lo < one.points.hi < ten.points.hi
    assert ten.power < one.power


def test_the_interval_is_that_of_a_bootstrap_over_conversations():
    generator, truth, evidence, _conversations = draw(5, items=800)
    labels, together = np.stack([truth, spoil(generator, truth, 0.2, 0.1)]), evidence.mean(axis=0)
    rows = np.arange(800).reshape(200, 4)
    drawn = []
    for _ in range(600):
        sample = rows[generator.integers(0, 200, 200)].ravel()
        drawn.append(lean(labels[:, sample], together[sample]).difference)
    sums = lean(labels, together).influence.reshape(200, 4).sum(axis=1)
    assert np.sqrt(sums @ sums) == pytest.approx(np.std(drawn), rel=0.1)


def test_one_label_alone_cannot_be_compared():
    evidence = np.random.default_rng(0).normal(size=(2, 50))
    labels = np.stack([np.zeros(50, int), np.ones(50, int)])
    assert compare(labels, evidence, [str(row) for row in range(50)]).points is None


def test_one_conversation_alone_cannot_be_compared():
    generator, truth, evidence, _ = draw(7, items=40)
    comparison = compare(np.stack([truth, spoil(generator, truth, 0.3, 0.3)]), evidence, ["c"] * 40)
    assert (comparison.points, comparison.power, comparison.items) == (None, 0.0, 40)


def test_untouched_models_lead_where_their_power_is_enough():
    assert lead({UNTOUCHED: 0.85, OUT_OF_FOLD: 0.99}) == UNTOUCHED
    assert lead({UNTOUCHED: 0.3, OUT_OF_FOLD: 0.6}) == OUT_OF_FOLD
    assert lead({UNTOUCHED: 0.3}) == UNTOUCHED


def test_words_name_the_worse_set_and_the_power():
    said = {UNTOUCHED: Comparison(12, 400, 60, Interval(-8.0, -12.0, -4.0), 12, 0.91)}
    assert list(compared_in_words(("li", "wu"), said)) == [
        "li's labels hold about 8.0 more errors in 100 [4.0, 12.0] than wu's (60 of 400 labels differ; 12 untouched "
        "model(s); power to find 15 points 0.91)."
    ]
    said = {UNTOUCHED: Comparison(12, 400, 60, Interval(1.0, -3.0, 5.0), 7, 0.91)}
    line = next(compared_in_words(("round 2", "round 1"), said))
    assert line.startswith(
        "round 1's labels hold about 1.0 more errors in 100 [-3.0, 5.0] than round 2's, no more than luck could ("
    )
    assert "too little" in next(compared_in_words(("li", "wu"), {UNTOUCHED: Comparison(12, 400, 2)}))
