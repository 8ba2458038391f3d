"""The gate's rule: growth of AUROC with size, with models as the sample."""

import math

import numpy as np
import pytest
from scipy.stats import linregress, t

from chatladder.evaluation.gate import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Gate,
    GateSettings,
    Scores,
    advice,
    gate_of,
    slope_interval,
    slope_weights,
)

SIZES = [1_000, 2_000, 4_000, 8_000]
SETTINGS = GateSettings(margin=0.01)


def scores(values, params=SIZES, conversations=40, noise=1e-4):
    """Scores whose items add random noise, the same for all models but its size."""
    generator = np.random.default_rng(0)
    influence = generator.normal(scale=noise, size=(len(params), 4 * conversations))
    influence -= influence.mean(axis=1, keepdims=True)
    return Scores(params, np.array(values), influence, np.repeat(np.arange(conversations), 4))


def test_the_line_and_its_interval_are_those_of_least_squares():
    doublings = np.log2([10, 30, 50, 400, 500])
    values = np.array([0.5, 0.55, 0.52, 0.6, 0.66])
    slope, low, high = slope_interval(doublings, values, 0.0)
    fitted = linregress(doublings, values)
    assert slope == pytest.approx(fitted.slope)
    assert (low, high) == pytest.approx(
        (fitted.slope - t.ppf(0.975, 3) * fitted.stderr, fitted.slope + t.ppf(0.975, 3) * fitted.stderr)
    )


def test_many_ladders_at_once_are_each_alone():
    doublings, values = np.log2(SIZES), np.random.default_rng(1).normal(size=(5, 4))
    together = slope_interval(doublings, values, np.arange(5) / 100)
    for row in range(5):
        alone = slope_interval(doublings, values[row], row / 100)
        assert [ends[row] for ends in together] == pytest.approx(alone)


def test_the_luck_of_items_widens_the_interval():
    doublings, values = np.log2(SIZES), np.array([0.6, 0.62, 0.63, 0.66])
    _, low, high = slope_interval(doublings, values, 0.0)
    _, lower, higher = slope_interval(doublings, values, 0.01)
    assert lower < low
    assert high < higher


def test_two_models_leave_no_interval():
    slope, low, high = slope_interval(np.array([1.0, 2.0]), np.array([0.5, 0.6]), 0.0)
    assert slope == pytest.approx(0.1)
    assert math.isnan(low)
    assert math.isnan(high)
    gate = gate_of(scores([0.5, 0.6], SIZES[:2]), SETTINGS)
    assert gate.verdict == INCONCLUSIVE
    assert "at least three" in " ".join(advice(gate, SETTINGS))


def test_noise_that_flattens_the_slope_ends_a_pass():
    values = np.array([0.60, 0.64, 0.68, 0.72])
    verdicts = [gate_of(scores(0.5 + (1 - 2 * noise) * (values - 0.5)), SETTINGS).verdict for noise in (0, 0.3, 0.4)]
    assert verdicts == [PASS, PASS, INCONCLUSIVE]


def test_steady_growth_passes():
    gate = gate_of(scores([0.60, 0.64, 0.68, 0.72]), SETTINGS)
    assert (gate.verdict, gate.models, gate.sizes, gate.models_needed) == (PASS, 4, 4, None)
    assert gate.slope.value == pytest.approx(0.04)
    assert "PASS" in next(advice(gate, SETTINGS))


def test_growth_and_fall_count_only_beyond_the_margin():
    rising = [0.602, 0.610, 0.618, 0.626]
    assert gate_of(scores(rising, noise=1e-5), SETTINGS).verdict == INCONCLUSIVE
    assert gate_of(scores(rising, noise=1e-5), GateSettings(margin=0.005)).verdict == PASS
    falling = [0.626, 0.618, 0.610, 0.602]
    assert gate_of(scores(falling, noise=1e-5), SETTINGS).verdict == INCONCLUSIVE
    assert gate_of(scores(falling, noise=1e-5), GateSettings(margin=0.0)).verdict == FAIL
    assert gate_of(scores([0.72, 0.68, 0.64, 0.60]), SETTINGS).verdict == FAIL


def test_one_model_out_of_order_does_not_fail_a_ladder():
    # Before, a single pair that was credibly out of order failed it, however little the items mattered to the rest.
    gate = gate_of(scores([0.60, 0.64, 0.69, 0.67]), SETTINGS)
    assert gate.verdict != FAIL


def test_seeds_of_one_rung_are_models_of_their_own():
    values = [0.60, 0.66, 0.63, 0.69]
    assert gate_of(scores(values), SETTINGS).verdict == INCONCLUSIVE
    more = gate_of(scores(values * 6, SIZES * 6), SETTINGS)
    assert (more.verdict, more.models, more.sizes) == (PASS, 24, 4)


def test_an_inconclusive_verdict_says_how_many_models_would_do():
    values = [0.60, 0.66, 0.63, 0.69]
    gate = gate_of(scores(values), SETTINGS)
    assert gate.models_needed is not None
    copies = math.ceil(gate.models_needed / 4)
    assert gate_of(scores(values * copies, SIZES * copies), SETTINGS).verdict == PASS
    assert f"{gate.models_needed} models" in " ".join(advice(gate, SETTINGS))


def test_an_inconclusive_verdict_says_how_many_items_would_do():
    values = [0.60, 0.641, 0.679, 0.72]
    gate = gate_of(scores(values, noise=0.004), SETTINGS)
    assert gate.verdict == INCONCLUSIVE
    assert gate.items_factor > 1
    fewer = gate_of(scores(values, noise=0.004 / math.sqrt(gate.items_factor * 1.01)), SETTINGS)
    assert fewer.verdict == PASS


def test_nothing_is_promised_of_a_ladder_without_growth():
    gate = gate_of(scores([0.61, 0.60, 0.60, 0.61]), SETTINGS)
    assert (gate.verdict, gate.models_needed, gate.items_factor) == (INCONCLUSIVE, None, None)
    assert "no number of models or items" in " ".join(advice(gate, SETTINGS))


def test_few_conversations_decide_nothing():
    gate = gate_of(scores([0.60, 0.64, 0.68, 0.72], conversations=29), SETTINGS)
    assert gate.verdict == INCONCLUSIVE
    assert "Fewer than 30 conversations" in " ".join(advice(gate, SETTINGS))


def test_one_size_has_no_slope():
    gate = gate_of(scores([0.6, 0.7], [500, 500]), SETTINGS)
    assert (gate.verdict, gate.slope) == (INCONCLUSIVE, None)


def test_ladders_of_one_size_seldom_pass_or_fail():
    # Drawn as the interval assumes; benchmarks/same_size.py has those of real models.
    generator = np.random.default_rng(3)
    doublings = np.log2(SIZES * 3)
    values = 0.7 + generator.normal(scale=0.015, size=(20_000, 12))
    by_items = (0.002) ** 2
    shaken = values + np.outer(generator.normal(scale=0.002, size=20_000), doublings - doublings.mean())
    _, low, high = slope_interval(doublings, shaken, by_items)
    assert (low > 0).mean() <= 0.03
    assert (high < -SETTINGS.margin).mean() <= 0.03
    raw_low = shaken @ slope_weights(doublings) - 1.96 * math.sqrt(by_items)  # as if models were no sample
    assert (raw_low > 0).mean() > 0.1


@pytest.mark.parametrize("verdict", [PASS, FAIL, INCONCLUSIVE])
def test_advice_begins_with_the_verdict(verdict):
    gate = Gate(verdict, gate_of(scores([0.6, 0.7, 0.65, 0.6]), SETTINGS).slope, 4, 4, 40)
    assert next(advice(gate, SETTINGS)).startswith(f"gate: {verdict.upper()}.")
