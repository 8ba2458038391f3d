"""The gate's rule at its edges: where a verdict turns, what an interval ends on, what a file and a sentence say."""

import numpy as np
import pytest

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
    measured,
    more_items,
    overview,
    page_p,
    pair_text,
    simultaneous,
)
from chatladder.evaluation.rungs import Ladder, Rung
from chatladder.evaluation.scaling_check import ScoredReading, gate_metrics, in_words, mixture_metrics
from chatladder.evaluation.scores import Draws, bootstrap, interval, slope_per_doubling
from chatladder.io.console import DataError

RUNGS = [Rung("small", 1_000), Rung("medium", 2_000), Rung("large", 4_000)]
MANY = SampleSize(400, 100)
METRICS = ("precision", "macro_f1", "balanced_accuracy")


def still(*scores, draws=200):
    """Scores that no draw moves."""
    return np.tile(np.array(scores, dtype=float), (draws + 1, 1))


def shaken(*scores, by, draws=200):
    """Scores whose draws lie evenly so far about them: the first moves up while the second moves down, and so on."""
    step = np.concatenate([[0.0], np.linspace(-by, by, draws)])
    return np.array(scores) + step[:, None] * np.where(np.arange(len(scores)) % 2, -1, 1)


# The verdict


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((0.5, 0.5, 0.5), INCONCLUSIVE),  # the slope's lower end and every pair's upper end are 0, no more and no less
        ((0.5, 0.5, 0.501), PASS),
        ((0.5, 0.501, 0.5), FAIL),
        ((0.501, 0.501, 0.5), FAIL),
    ],
)
def test_zero_itself_neither_passes_nor_fails(scores, verdict):
    assert gate_of(RUNGS, still(*scores), MANY).verdict == verdict


def test_without_an_estimate_on_either_side_of_zero_no_number_of_items_decides():
    gate = gate_of(RUNGS, still(0.5, 0.5, 0.5), MANY)
    assert (gate.verdict, gate.more_items, gate.undefined_draws, gate.too_few) == (INCONCLUSIVE, None, 0, False)


def test_the_slope_is_judged_by_the_end_that_a_fortieth_of_its_draws_is_below():
    # Per doubling (large - small) / 2: of 200 draws the lowest 4, then 6, are below 0.
    for below, verdict in ((4, PASS), (6, INCONCLUSIVE)):
        values = still(0.5, 0.6, 0.7)
        values[1 : 1 + below] = (0.6, 0.6, 0.59)
        assert gate_of(RUNGS, values, MANY).verdict == verdict


@pytest.mark.parametrize(
    ("undefined", "usable"), [(0, True), (1, True), (2, True), (3, False)]
)  # of 200 draws; one in a hundred is 2
def test_a_rung_is_measured_if_one_draw_in_a_hundred_lacks_its_score_and_not_if_more_do(undefined, usable):
    values = still(0.5, 0.6, 0.7)
    values[1 : 1 + undefined, 1] = np.nan
    found, whole = measured(values)
    assert found.tolist() == [True, usable, True]
    assert int((~whole).sum()) == (undefined if usable else 0)
    gate = gate_of(RUNGS, values, MANY)
    assert (gate.unmeasured, gate.undefined_draws) == (([], undefined) if usable else (["medium"], 0))
    assert gate.verdict == (PASS if usable else INCONCLUSIVE)
    assert len(gate.slope) == 201 - gate.undefined_draws


def test_a_rung_without_a_score_of_its_own_is_not_measured_whatever_its_draws_say():
    values = still(0.5, 0.6, 0.7)
    values[0, 2] = np.nan
    gate = gate_of(RUNGS, values, MANY)
    assert gate.unmeasured == ["large"]
    assert gate.sizes.names == ["small", "medium"]
    assert (gate.verdict, gate.more_items) == (INCONCLUSIVE, None)


def test_what_is_left_must_be_of_two_sizes():
    rungs = [Rung("a", 1_000), Rung("b", 1_000), Rung("c", 2_000)]
    values = still(0.5, 0.6, np.nan)
    gate = gate_of(rungs, values, MANY)
    assert gate == Gate(INCONCLUSIVE, None, None, [], None, None, ["c"])
    with pytest.raises(DataError, match=r"expected rungs of at least two sizes, got \[1000\]\. Add one to the ladder"):
        gate_of(rungs[:2], values[:, :2], MANY)


@pytest.mark.parametrize(
    ("conversations", "verdict", "more"),
    [(30, PASS, None), (29, INCONCLUSIVE, 14), (20, INCONCLUSIVE, 200), (1, INCONCLUSIVE, 11_600)],
)
def test_fewer_than_thirty_conversations_decide_nothing_and_say_how_many_items_make_thirty(
    conversations, verdict, more
):
    gate = gate_of(RUNGS, still(0.5, 0.6, 0.7), SampleSize(400, conversations))
    assert (gate.verdict, gate.more_items, gate.too_few) == (verdict, more, conversations < 30)


def test_of_the_items_for_thirty_conversations_and_those_for_the_slope_the_larger_number_is_named():
    values = shaken(0.5, 0.51, by=0.012)
    alone = gate_of(RUNGS[:2], values, SampleSize(400, 30)).more_items
    assert alone > 400
    assert gate_of(RUNGS[:2], values, SampleSize(400, 28)).more_items == alone
    assert gate_of(RUNGS[:2], values, SampleSize(400, 4)).more_items == 2_600 > alone
    assert gate_of(RUNGS[:2], shaken(0.5, 0.5001, by=0.1), SampleSize(400, 28)).more_items is None


# Sizes and pairs


def test_sizes_ascend_whatever_the_order_of_the_rungs():
    rungs = [Rung("large", 4_000), Rung("a", 1_000), Rung("b", 1_000)]
    sizes = by_size(rungs, np.array([[0.9, 0.5, 0.7], [0.8, 0.4, 0.4]]))
    assert (sizes.names, sizes.params) == (["a+b", "large"], [1_000, 4_000])
    assert sizes.values == pytest.approx(np.array([[0.6, 0.9], [0.4, 0.8]]))


def test_a_pair_is_the_larger_minus_the_smaller_with_its_own_interval():
    # One pair: the deviations are by/2 of 1.96..., in standard errors of the draws.
    values = shaken(0.5, 0.6, by=0.02)
    (pair,), worst = compare(Sizes(["a", "b"], [1, 2], values))
    moves = values[1:, 1] - values[1:, 0]
    half = np.quantile(np.abs(moves - 0.1), 0.95)
    assert pair[:2] == ("a", "b")
    assert pair[2:] == pytest.approx((0.1, 0.1 - half, 0.1 + half))
    assert worst == pair


def test_the_worst_pair_is_measured_by_its_own_width():
    # a to b: +.020, hardly moved. b to c: +.010 and c moves by .1, so its upper end is far above that of the first.
    step = np.concatenate([[0.0], np.linspace(-1, 1, 200)])
    values = np.stack([0.5 + 0 * step, 0.52 + 0.001 * step, 0.53 + 0.1 * step], axis=1)
    pairs, worst = compare(Sizes(["a", "b", "c"], [1, 2, 3], values))
    assert min(pairs, key=lambda pair: pair.hi)[:2] == ("a", "b")
    assert worst[:2] == ("b", "c")
    # None of them moves: the lowest difference is the worst.
    _, worst = compare(Sizes(["a", "b", "c"], [1, 2, 3], still(0.5, 0.52, 0.51)))
    assert worst[:2] == ("b", "c")


def test_a_spread_that_is_rounding_is_none():
    values = np.concatenate([np.full((1, 2), 0.5), 0.5 + np.array([[1, -1], [-1, 1]]) * 1e-13, [[0.5, 0.5]]])
    low, high = simultaneous(values)
    assert low.tolist() == high.tolist() == [0.5, 0.5]
    values[1:, 0] = (0.4, 0.6, 0.5)
    low, high = simultaneous(values)
    assert (low[0], high[0]) == pytest.approx((0.4, 0.6))
    assert low[1] == high[1] == 0.5


def test_items_are_named_up_to_a_hundred_times_those_at_hand():
    assert more_items(100, 0.1, -0.9, []) == 9_901
    assert more_items(100, 0.1, -0.91, []) is None
    assert more_items(100, -0.1, -1.0, [Pair("a", "b", -0.1, -1.1, 0.9)]) == 9_901
    assert more_items(100, -0.1, -1.0, [Pair("a", "b", 0.0, -0.1, 0.1)]) is None


# Intervals, slopes and ranks


def test_an_interval_leaves_a_fortieth_of_the_draws_out_on_either_side():
    values = np.concatenate([[500.0], np.arange(1001.0)])
    assert interval(values).named("score") == {"score": 500.0, "score_lo": 25.0, "score_hi": 975.0}


def test_figures_keep_five_digits_and_no_minus_before_zero():
    assert interval(np.array([1 / 3, 0.0, 0.0])) == (0.33333, 0.0, 0.0)
    assert "-" not in str(interval(np.array([-1e-9, -1e-9, -1e-9])))


def test_draws_are_of_whole_conversations_as_many_as_there_are_and_by_the_seed_alone():
    sample = bootstrap(["b", "a", "b", "c"], Draws(3, 500))
    assert sample.clusters.tolist() == [0, 1, 0, 2]
    assert sample.weights.shape == (501, 3)
    assert sample.weights[0].tolist() == [1, 1, 1]
    assert (sample.weights.sum(axis=1) == 3).all()
    # Each as often as the others: 500 draws of three, so 500 times, give or take 18 (a standard error).
    assert (np.abs(sample.weights[1:].sum(axis=0) - 500) < 60).all()
    assert (bootstrap(["x", "y", "x", "z"], Draws(3, 500)).weights == sample.weights).all()
    assert (bootstrap(["x", "y", "x", "z"], Draws(4, 500)).weights != sample.weights).any()
    assert bootstrap(["a", "b"], Draws(0, 1)).weights.shape == (2, 2)
    with pytest.raises(DataError, match="expected items of two conversations or more, got 1"):
        bootstrap(["a", "a"], Draws(0, 10))


def test_a_slope_is_per_doubling_whatever_the_unit_of_the_parameters():
    assert slope_per_doubling([1, 2, 4], np.array([[0.1, 0.2, 0.3]])) == pytest.approx([0.1])
    assert slope_per_doubling([3_000, 12_000], np.array([[0.5, 0.6], [0.6, 0.5]])) == pytest.approx([0.05, -0.05])
    with pytest.raises(DataError, match=r"at least two sizes, got \[7\]"):
        slope_per_doubling([7, 7], np.zeros((1, 2)))


def test_ranks_are_of_the_scores_themselves_and_not_of_a_draw():
    sizes = Sizes(list("abc"), [1, 2, 3], np.array([[0.5, 0.6, 0.7], [0.9, 0.8, 0.1]]))
    assert (kendall_tau(sizes), isotonic_residual(sizes)) == (1.0, 0.0)
    down = sizes._replace(values=sizes.values[:, ::-1])
    assert kendall_tau(down) == -1.0
    assert isotonic_residual(down) == pytest.approx(np.sqrt(2 / 3) * 0.1, abs=1e-5)
    same = sizes._replace(values=np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.3]]))
    assert (kendall_tau(same), isotonic_residual(same)) == (None, 0.0)


def test_pages_test_takes_equal_sizes_for_one_and_three_for_enough():
    correct = np.array([[False, False, True], [False, True, True]] * 6)
    clusters = np.arange(12)
    found = page_p(RUNGS, correct, clusters)
    assert 0 < found < 0.05
    assert found == float(f"{found:.3g}")
    assert page_p(RUNGS, correct[:, ::-1], clusters) > 0.95
    assert page_p([Rung("a", 1), Rung("b", 1), Rung("c", 2)], correct, clusters) is None


# What files and sentences say


PASSED = Gate(PASS, np.array([0.0123456, 0.01, 0.02]), None, [], Pair("s", "l", 0.0333333, -0.01, 0.0766666), None, [])
FAILED = Gate(FAIL, np.array([-0.02, -0.03, -0.01]), None, [], Pair("s", "l", -0.05, -0.08, -0.02), None, [])
OPEN = Gate(INCONCLUSIVE, np.array([0.0, -0.01, 0.01]), None, [], Pair("s", "l", -0.0, -0.1, 0.1), 1234, [], 7)


def test_a_metrics_file_holds_the_worst_pair_and_the_numbers_of_the_verdict():
    assert gate_metrics(PASSED) == {
        "slope": 0.01235, "slope_lo": 0.01025, "slope_hi": 0.01975, "verdict": "pass", "verdict_code": 1,
        "worst_pair": {
            "larger": "l", "smaller": "s", "difference": 0.03333, "difference_lo": -0.01, "difference_hi": 0.07667
        },
        "more_items": None, "undefined_draws": 0,
    }  # fmt: skip
    found = gate_metrics(OPEN)
    assert (found["verdict_code"], found["more_items"], found["undefined_draws"]) == (0, 1234, 7)
    assert str(found["worst_pair"]["difference"]) == "0.0"


def test_a_mixture_that_too_few_draws_measure_has_no_score():
    ladder = Ladder(RUNGS[:2], {Rung("mixture", 9_000): 900})
    values = np.column_stack([still(0.5, 0.6), np.linspace(0.6, 0.8, 201)])
    values[0, 2] = 0.7
    draws = dict.fromkeys(METRICS, values)
    found = mixture_metrics(ladder, ScoredReading(draws, {}, None))["mixture"]
    assert (found["params"], found["active_params"], found["precision"]) == (9_000, 900, 0.7)
    assert (found["precision_lo"], found["precision_hi"]) == pytest.approx((0.606, 0.795), abs=0.001)
    gone = values.copy()
    gone[1:4, 2] = np.nan
    found = mixture_metrics(ladder, ScoredReading({**draws, "macro_f1": gone}, {}, None))["mixture"]
    assert [found[name] for name in ("macro_f1", "macro_f1_lo", "macro_f1_hi")] == [None, None, None]
    assert found["balanced_accuracy"] == 0.7


def test_one_line_tells_every_verdict_with_its_slope():
    gates = dict(zip(METRICS, (PASSED, FAILED, OPEN), strict=True))
    assert overview("centred", gates) == (
        "centred: precision pass +0.012 [+0.010, +0.020], macro-F1 fail -0.020 [-0.029, -0.011], "
        "balanced accuracy inconclusive +0.000 [-0.009, +0.009]"
    )


def test_a_pair_is_told_larger_first():
    assert pair_text(FAILED) == "l against s -0.050 [-0.080, -0.020]"
    assert pair_text(Gate(INCONCLUSIVE, None, None, [], None, None, ["s"])) == "no pair"


def test_a_fail_whose_slope_rises_may_be_one_model_and_one_whose_slope_does_not_is_none():
    assert not any("another seed" in line for line in advice(FAILED, "precision"))
    risen = Gate(FAIL, np.array([0.02, 0.01, 0.03]), None, [], FAILED.worst, None, [])
    assert any("another seed" in line for line in advice(risen, "precision"))
    level = Gate(FAIL, np.zeros(3), None, [], FAILED.worst, None, [])
    assert not any("another seed" in line for line in advice(level, "precision"))


def test_a_verdict_is_told_with_what_it_rests_on_and_what_to_do_next():
    first, nearest, then, fixed = advice(PASSED, "macro_f1")
    assert first.startswith("gate: PASS. Macro-F1 grows with size")
    assert nearest == "Nearest to a contradiction in macro-F1: l against s +0.033 [-0.010, +0.077]."
    assert then.startswith("Go on and train. Wrong labels")
    assert "hold the weights fixed" in fixed
    first, then, _ = advice(OPEN, "balanced_accuracy")
    assert first.startswith("gate: INCONCLUSIVE. Balanced accuracy neither grows")
    assert then.startswith("About 1,234 more labelled items")
    few = Gate(INCONCLUSIVE, None, None, [], None, None, ["s", "l"], too_few=True)
    first, then, _ = advice(few, "precision")
    assert first == "gate: INCONCLUSIVE. Intervals over fewer than 30 conversations decide nothing."
    assert then.startswith("Take that rung off the ladder")
    first, *_ = advice(Gate(INCONCLUSIVE, None, None, [], None, None, ["s", "l"]), "precision")
    assert "Precision is not defined for s, l: too few answers" in first


@pytest.mark.parametrize(
    ("raw", "centred", "said"),
    [
        (PASSED, OPEN, "no longer credible"),
        (PASSED, FAILED, "the order breaks: l against s -0.050"),
        (PASSED, PASSED, ""),
        (OPEN, OPEN, ""),
        (OPEN, FAILED, ""),
        (FAILED, FAILED, ""),
        (FAILED, OPEN, ""),
    ],
)
def test_only_a_pass_is_warned_of_by_the_centred_answers(raw, centred, said):
    lines = list(leaning(raw, centred))
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_a_report_goes_from_the_verdicts_to_mixtures_and_advice():
    raw = dict.fromkeys(METRICS, PASSED)
    centred = {**raw, "precision": OPEN}
    readings = {"raw": ScoredReading({}, raw, None), "centred": ScoredReading({}, centred, None)}
    ladder = Ladder(RUNGS, {Rung("known", 9_000): 1_000, Rung("unknown", 9_000): 1_000})
    metrics = {"mixtures": {"known": {"precision": 0.12345}, "unknown": {"precision": None}}}
    lines = list(in_words(metrics, ladder, readings))
    assert [line.split(" ", 3)[:3] for line in lines[:4]] == [
        ["as", "answered:", "precision"],
        ["centred:", "precision", "inconclusive"],
        ["known:", "precision", "0.123;"],
        ["unknown:", "precision", "not"],
    ]
    assert lines[3].startswith("unknown: precision not defined; shown, not fitted: a mixture of experts, 9,000 ")
    assert lines[4].startswith("gate: PASS. Precision grows")
    assert "no longer credible" in lines[-1]
