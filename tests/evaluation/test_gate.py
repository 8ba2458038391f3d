from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from chatladder.evaluation.gate import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Gate,
    Pair,
    SampleSize,
    Sizes,
    advice,
    by_size,
    compare,
    gate_of,
    isotonic_residual,
    kendall_tau,
    leaning,
    more_items,
    overview,
    page_p,
    simultaneous,
    with_gaps,
)
from chatladder.evaluation.rungs import Rung
from chatladder.evaluation.scaling_check import gate_metrics
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, UNKNOWN, Draws, answer_scores, bootstrap
from chatladder.io.console import DataError

RUNGS = [Rung("small", 1_000), Rung("medium", 4_000), Rung("large", 16_000)]


def ladder(accuracies, conversations=200, seed=0, each=4):
    """Labels, conversations, and one column of answers a rung, right as often as its accuracy says."""
    generator = np.random.default_rng(seed)
    references = generator.integers(0, 2, conversations * each)
    right = generator.random((len(references), len(accuracies))) < accuracies
    answers = np.where(right, references[:, None], 1 - references[:, None])
    return references, np.repeat(np.arange(conversations), each), answers


def values_of(references, clusters, answers, metric="precision", draws=600):
    sample = bootstrap([str(place) for place in clusters], Draws(0, draws))
    columns = []
    for rung in answers.T:
        scored = answer_scores(references, rung, sample.clusters, sample.weights)
        columns.append(with_gaps(references, rung, sample, scored)[metric])
    return np.stack(columns, axis=1)


def gated(references, clusters, answers, rungs=RUNGS, metric="precision"):
    size = SampleSize(len(references), clusters[-1] + 1)
    return gate_of(rungs, values_of(references, clusters, answers, metric), size)


def copies(references, clusters, answers, times):
    """The same items so many times over, each time in conversations of their own."""
    moved = [clusters + place * (clusters[-1] + 1) for place in range(times)]
    return np.tile(references, times), np.concatenate(moved), np.tile(answers, (times, 1))


@pytest.mark.parametrize("metric", ["precision", "macro_f1", "balanced_accuracy"])
def test_clear_growth_passes_and_its_reverse_fails(metric):
    references, clusters, answers = ladder([0.6, 0.7, 0.8])
    gate = gated(references, clusters, answers, metric=metric)
    assert (gate.verdict, gate.more_items, gate.unmeasured) == (PASS, None, [])
    reverse = gated(references, clusters, answers[:, ::-1], metric=metric)
    assert reverse.verdict == FAIL
    assert (reverse.worst.smaller, reverse.worst.larger) == ("small", "large")
    assert reverse.worst.hi < 0
    assert reverse.slope[0] == pytest.approx(-gate.slope[0])


def test_a_slope_above_zero_does_not_excuse_a_larger_rung_below_a_smaller_one():
    gate = gated(*ladder([0.55, 0.85, 0.7], conversations=400))
    assert np.quantile(gate.slope[1:], 0.025) > 0
    assert gate.verdict == FAIL
    assert (gate.worst.smaller, gate.worst.larger) == ("medium", "large")


def test_flat_ladders_pass_and_fail_no_more_often_than_intervals_of_95_percent_allow():
    verdicts = [gated(*ladder([0.7, 0.7, 0.7], conversations=80, seed=seed)).verdict for seed in range(100)]
    # 2.5 % each; more than 8 of 100 would happen by chance about once in 1,000 times.
    assert verdicts.count(PASS) <= 8
    assert verdicts.count(FAIL) <= 8


@pytest.mark.parametrize(("accuracies", "decided"), [([0.7, 0.71, 0.725], PASS), ([0.71, 0.70, 0.685], FAIL)])
def test_too_few_items_are_inconclusive_and_as_many_as_it_says_decide(accuracies, decided):
    few = ladder(accuracies, conversations=60, seed=7 if decided == PASS else 1)
    gate = gated(*few)
    times = 1 + gate.more_items / 240
    assert gate.verdict == INCONCLUSIVE
    assert times > 2.5
    # The same items again, so that the estimates stay where they are.
    assert gated(*copies(*few, int(np.ceil(1.15 * times)))).verdict == decided
    assert gated(*copies(*few, int(0.85 * times))).verdict == INCONCLUSIVE


def test_more_items_are_those_that_shrink_the_nearest_interval_to_its_estimate():
    below = [Pair("small", "large", -0.01, -0.04, 0.02), Pair("small", "medium", 0.05, 0.01, 0.09)]
    assert more_items(100, 0.01, -0.01, []) == 301  # half as wide: four times the items, and one more
    assert more_items(100, -0.01, -0.03, below) == 801
    assert more_items(100, 0.01, -0.01, below) == 301
    assert more_items(100, 0.01, 0.0, []) == 1
    assert more_items(100, 0.0, -0.01, []) is None
    assert more_items(100, 1e-300, -0.01, []) is None
    assert more_items(100, 0.001, -0.01, []) is None  # 121 times as many


def test_max_t_intervals_equal_a_plain_computation():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(501, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0.2, 3]])
    values = np.column_stack([values, np.full(501, 0.25)])  # the last never moves
    low, high = simultaneous(values)
    errors = [np.std(values[1:, column], ddof=1) for column in range(3)]
    largest = []
    for draw in values[1:]:
        largest.append(max(abs(draw[column] - values[0, column]) / errors[column] for column in range(3)))
    critical = np.quantile(largest, 0.95)
    for column, error in enumerate(errors):
        assert low[column] == pytest.approx(values[0, column] - critical * error)
        assert high[column] == pytest.approx(values[0, column] + critical * error)
    assert low[3] == high[3] == 0.25


def test_max_t_intervals_hold_together_as_often_as_they_say():
    generator = np.random.default_rng(1)
    held = alone = 0
    for _ in range(600):
        # Six estimates of 0 with standard error 1, and draws around them.
        estimates = generator.normal(size=6)
        values = np.concatenate([estimates[None], estimates + generator.normal(size=(1_000, 6))])
        low, high = simultaneous(values)
        held += ((low <= 0) & (high >= 0)).all()
        alone += (np.abs(estimates) <= 1.96).all()
    assert 0.92 <= held / 600 <= 0.98
    assert alone / 600 < 0.8  # what single 95 % intervals would give


def test_every_pair_of_sizes_is_compared_and_equal_sizes_are_averaged():
    rungs = [Rung("a", 1_000), Rung("b", 4_000), Rung("b2", 4_000), Rung("c", 16_000)]
    values = np.tile([0.5, 0.9, 0.5, 0.8], (101, 1)) + np.random.default_rng(0).normal(0, 0.01, (101, 4))
    sizes = by_size(rungs, values)
    assert sizes.names == ["a", "b+b2", "c"]
    assert sizes.values[:, 1] == pytest.approx((values[:, 1] + values[:, 2]) / 2)
    pairs, worst = compare(sizes)
    assert [(pair.smaller, pair.larger) for pair in pairs] == list(combinations(sizes.names, 2))
    assert pairs[1].difference == pytest.approx(values[0, 3] - values[0, 0])
    # One lucky model of a size is no contradiction: 0.9 is above 0.8, its size's mean is not.
    assert gate_of(rungs, values, SampleSize(400, 100)).verdict == PASS
    assert worst.difference > 0


def test_two_rungs_are_enough_and_one_size_is_not():
    references, clusters, answers = ladder([0.6, 0.8])
    gate = gated(references, clusters, answers, rungs=RUNGS[:2])
    assert gate.verdict == PASS
    assert len(gate.pairs) == 1
    with pytest.raises(DataError, match="rungs of at least two sizes"):
        gated(references, clusters, answers, rungs=[Rung("a", 10), Rung("b", 10)])


def test_a_rung_that_never_answers_needed_has_no_precision_rather_than_a_precision_of_zero():
    references, clusters, answers = ladder([0.5, 0.7, 0.8])
    answers[:, 0] = NOT_NEEDED
    gate = gated(references, clusters, answers)
    # At 0 it would make the steepest of slopes.
    others = gated(references, clusters, answers[:, 1:], rungs=RUNGS[1:])
    assert (gate.verdict, gate.unmeasured, gate.more_items) == (INCONCLUSIVE, ["small"], None)
    assert gate.slope == pytest.approx(others.slope)
    assert gated(references, clusters, answers, metric="macro_f1").unmeasured == []
    # What the measured rungs contradict among themselves stands.
    assert gated(references, clusters, answers[:, [0, 2, 1]]).verdict == FAIL
    answers[:, 1] = UNKNOWN
    none = gated(references, clusters, answers)
    assert (none.verdict, none.slope, none.unmeasured) == (INCONCLUSIVE, None, ["small", "medium"])


def test_draws_without_a_precision_are_left_out_and_counted():
    references, clusters, answers = ladder([0.5, 0.7, 0.8])
    answers[:, 0] = NOT_NEEDED
    answers[:28:4, 0] = NEEDED  # in 7 of 200 conversations: missing from about one draw in 1,100
    values = values_of(references, clusters, answers, draws=4_000)
    gone = int(np.isnan(values).any(axis=1).sum())
    gate = gate_of(RUNGS, values, SampleSize(800, 200))
    assert 0 < gone < 40
    assert (gate.undefined_draws, gate.unmeasured) == (gone, [])
    assert len(gate.slope) == 4_001 - gone
    assert np.isfinite(gate.slope).all()
    answers[8:, 0] = NOT_NEEDED  # in two: missing from one draw in seven
    assert gated(references, clusters, answers).unmeasured == ["small"]


def test_a_score_is_undefined_where_a_draw_lacks_what_it_counts():
    sample = bootstrap(["a", "b"], Draws(0, 50))
    references, answers = np.array([NEEDED, NOT_NEEDED]), np.array([NEEDED, NOT_NEEDED])
    scored = answer_scores(references, answers, sample.clusters, sample.weights)
    gaps = with_gaps(references, answers, sample, scored)
    assert (np.isnan(gaps["precision"]) == (sample.weights[:, 0] == 0)).all()
    assert (np.isnan(gaps["macro_f1"]) == (sample.weights == 0).any(axis=1)).all()
    assert 0 < np.isnan(gaps["precision"]).sum() < np.isnan(gaps["balanced_accuracy"]).sum()


@pytest.mark.parametrize("accuracies", [[0.5, 0.75, 0.99], [0.99, 0.75, 0.5]])
def test_a_few_conversations_decide_nothing_however_clear_they_look(accuracies):
    gate = gated(*ladder(accuracies, conversations=20, each=10))
    assert (gate.verdict, gate.too_few, gate.more_items) == (INCONCLUSIVE, True, 100)
    assert gated(*ladder(accuracies, conversations=30, each=10)).verdict != INCONCLUSIVE


def test_the_worst_pair_is_the_one_that_speaks_most_against_growth():
    pairs, worst = compare(Sizes(["a", "b", "c"], [1, 2, 3], np.array([[0.5, 0.6, 0.55]] * 3 + [[0.5, 0.61, 0.5]])))
    assert (worst.smaller, worst.larger) == ("b", "c")
    assert worst in pairs


def test_kendall_page_and_the_isotonic_residual_equal_their_libraries():
    sizes = Sizes(list("abcd"), [10, 20, 40, 80], np.array([[0.5, 0.6, 0.55, 0.7]]))
    assert kendall_tau(sizes) == pytest.approx(stats.kendalltau([1, 2, 3, 4], sizes.values[0]).statistic, abs=1e-5)
    assert kendall_tau(sizes._replace(values=np.ones((1, 4)))) is None
    # 0.6 and 0.55 are pooled at 0.575: two of four are 0.025 off.
    assert isotonic_residual(sizes) == pytest.approx(0.025 / np.sqrt(2), abs=1e-5)
    assert isotonic_residual(sizes._replace(values=np.array([[0.1, 0.2, 0.2, 0.3]]))) == 0.0

    references, clusters, answers = ladder([0.6, 0.65, 0.7], conversations=100)
    correct = answers == references[:, None]
    blocks = [correct[clusters == place].mean(axis=0) for place in range(100)]
    assert page_p(RUNGS, correct, clusters) == pytest.approx(stats.page_trend_test(blocks).pvalue, rel=0.01)
    assert page_p(RUNGS[:2], correct[:, :2], clusters) is None


def test_pages_test_is_not_fooled_by_items_that_stand_and_fall_together():
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 8)
    # Flat, and each rung right or wrong about a whole conversation.
    found = [page_p(RUNGS, np.repeat(generator.random((60, 3)) < 0.6, 8, axis=0), clusters) for _ in range(200)]
    assert np.mean(np.array(found) <= 0.05) <= 0.09


def test_metrics_have_the_same_keys_whatever_the_verdict():
    references, clusters, answers = ladder([0.6, 0.7, 0.8])
    found = gate_metrics(gated(references, clusters, answers))
    assert found["verdict_code"] == 1
    assert found["worst_pair"]["difference_lo"] <= found["worst_pair"]["difference"]
    assert gate_metrics(gated(references, clusters, answers[:, ::-1]))["verdict_code"] == -1
    nothing = gate_metrics(Gate(INCONCLUSIVE, None, None, [], None, None, ["small"]))
    assert list(nothing) == list(found)
    assert list(nothing["worst_pair"]) == list(found["worst_pair"])
    assert nothing["slope"] is nothing["more_items"] is nothing["worst_pair"]["larger"] is None


def told(gate, metric="precision"):
    return " ".join(advice(gate, metric))


def test_the_verdict_is_told_in_words_with_what_to_do_next():
    references, clusters, answers = ladder([0.6, 0.7, 0.8])
    good = gated(references, clusters, answers)
    bad = gated(references, clusters, answers[:, ::-1])
    assert "gate: PASS. Precision grows with size" in told(good)
    assert "Go on and train." in told(good)
    assert "gate: FAIL. Macro-F1 falls credibly with size: large against small -0." in told(bad, "macro_f1")
    assert "look again at the items on which these two differ" in told(bad)
    assert "another seed" not in told(bad)
    assert "another seed" in told(gated(*ladder([0.55, 0.85, 0.7], conversations=400)))
    for gate in (good, bad):
        assert "hold the weights fixed" in told(gate)
    assert "balanced accuracy pass +0." in overview(
        "raw", dict.fromkeys(("precision", "macro_f1", "balanced_accuracy"), good)
    )


def test_an_open_verdict_says_what_would_close_it():
    few = gated(*ladder([0.7, 0.71, 0.725], conversations=60, seed=7))
    assert f"About {few.more_items:,} more labelled items would decide" in told(few)
    nowhere = Gate(INCONCLUSIVE, few.slope, few.sizes, few.pairs, few.worst, None, [])
    assert "More items would not help" in told(nowhere)
    unmeasured = Gate(INCONCLUSIVE, None, None, [], None, None, ["small"])
    assert "Precision is not defined for small" in told(unmeasured)
    assert overview("raw", dict.fromkeys(("precision", "macro_f1", "balanced_accuracy"), unmeasured)).endswith(
        "balanced accuracy inconclusive not defined"
    )
    short = gated(*ladder([0.5, 0.75, 0.99], conversations=20))
    assert "fewer than 30 conversations decide nothing. About 40 more" in told(short)


def test_a_pass_that_rests_on_a_leaning_is_said():
    references, clusters, answers = ladder([0.6, 0.7, 0.8])
    good, bad = gated(references, clusters, answers), gated(references, clusters, answers[:, ::-1])
    few = gated(*ladder([0.7, 0.71, 0.725], conversations=60, seed=7))
    assert list(leaning(good, good)) == list(leaning(few, bad)) == []
    assert "no longer credible" in next(leaning(good, few))
    assert "the order breaks: large against small -0." in next(leaning(good, bad))
