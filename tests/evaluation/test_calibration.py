"""The calibration finds what was planted, and its error is small where there is none."""

import numpy as np
import pytest

from chatladder.evaluation.calibration import BINS, NONE, calibrate, calibration_error, reliability
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED


def planted(count, temperature=3.0, shift=-1.5):
    """Log-odds of a model that is this far from calibrated, and labels drawn as the calibrated ones say."""
    random = np.random.default_rng(0)
    calibrated = random.normal(0, 2, count)
    is_needed = random.random(count) < 1 / (1 + np.exp(-calibrated))
    return shift + temperature * calibrated, np.where(is_needed, NEEDED, NOT_NEEDED)


def test_the_calibration_finds_temperature_and_shift():
    assert calibrate(*planted(20_000)) == pytest.approx((3.0, -1.5), abs=0.15)


def test_few_answers_without_a_mistake_give_a_temperature_above_nothing():
    log_odds = np.array([-2.0] * 10 + [1.0] * 10)
    calibration = calibrate(log_odds, np.where(log_odds > 0, NEEDED, NOT_NEEDED))
    assert calibration.shift == pytest.approx(-0.5, abs=0.01)
    assert 0.2 < calibration.temperature < 1


def test_answers_that_rank_the_wrong_way_have_no_calibration():
    log_odds, references = planted(200)
    assert calibrate(-log_odds, references) is None


def test_the_error_is_that_of_probabilities_taken_at_their_word():
    log_odds, references = planted(20_000)
    bins = {
        each: reliability(each.probabilities(log_odds), references) for each in (NONE, calibrate(log_odds, references))
    }
    raw, calibrated = map(calibration_error, bins.values())
    assert calibrated < 0.02 < 0.1 < raw
    assert [one.items for one in bins[NONE]] == [20_000 // BINS] * BINS
    assert [one.probability for one in bins[NONE]] == sorted(one.probability for one in bins[NONE])
    assert calibration_error(reliability(np.array([0.9, 0.9]), np.array([NEEDED, NOT_NEEDED]))) == pytest.approx(0.5)
