"""A threshold by cost: the calibration finds what was planted, and the threshold costs least."""

import numpy as np
import pytest

from chatladder.cli.costs import Calibration, calibrate
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED
from chatladder.io.console import DataError


def planted(count, temperature=3.0, shift=-1.5):
    """Log-odds of a model that is this far from calibrated, and labels drawn as the calibrated ones say."""
    random = np.random.default_rng(0)
    calibrated = random.normal(0, 2, count)
    is_needed = random.random(count) < 1 / (1 + np.exp(-calibrated))
    return shift + temperature * calibrated, np.where(is_needed, NEEDED, NOT_NEEDED)


def test_the_calibration_finds_temperature_and_shift():
    assert calibrate(*planted(20_000)) == pytest.approx((3.0, -1.5), abs=0.15)


def test_the_threshold_costs_less_than_others():
    log_odds, references = planted(20_000)

    def cost(threshold):
        missed = ((references == NEEDED) & (log_odds <= threshold)).sum()
        return 5 * missed + ((references == NOT_NEEDED) & (log_odds > threshold)).sum()

    threshold = calibrate(log_odds, references).threshold(5, 1)
    assert threshold == pytest.approx(-1.5 - 3 * np.log(5), abs=0.3)
    assert cost(threshold) < min(cost(threshold - 1.5), cost(threshold + 1.5), cost(0))
    assert Calibration(2.0, 0.5).threshold(1, 1) == 0.5


def test_few_answers_without_a_mistake_give_a_temperature_above_nothing():
    log_odds = np.array([-2.0] * 10 + [1.0] * 10)
    calibration = calibrate(log_odds, np.where(log_odds > 0, NEEDED, NOT_NEEDED))
    assert calibration.shift == pytest.approx(-0.5, abs=0.01)
    assert 0.2 < calibration.temperature < 1


def test_answers_that_rank_the_wrong_way_are_refused():
    log_odds, references = planted(200)
    with pytest.raises(DataError, match="ranks no better than chance"):
        calibrate(-log_odds, references)
