import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from chatladder.evaluation.predictions import Predictions
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, UNKNOWN
from chatladder.evaluation.threshold import answers_at, central_threshold, choose, decide


def drawn(count, shift=-6.0, seed=0, distance=1.0):
    """Log-odds of a model that ranks questions at an AUROC of about .76, and answers all alike; and their labels."""
    generator = np.random.default_rng(seed)
    references = np.where(generator.random(count) < 0.4, NEEDED, NOT_NEEDED)
    return generator.normal(size=count) + np.where(references == NEEDED, distance, 0) + shift, references


def predictions(log_odds, p_unknown=0.0, known=True):
    count = len(log_odds)
    return Predictions(
        answers=np.where(log_odds > 0, NEEDED, NOT_NEEDED),
        log_odds=log_odds,
        p_unknown=np.full(count, p_unknown),
        parsed=np.ones(count, dtype=bool),
        mean_log_odds=float(log_odds.mean()),
        known=np.full(count, known),
    )


def macro_f1(references, answers):
    return f1_score(references, answers, average="macro", labels=[NEEDED, NOT_NEEDED], zero_division=0)


def test_a_model_that_answers_all_alike_answers_both_ways_at_its_threshold():
    validation, test = predictions(drawn(80)[0]), predictions(drawn(2000, seed=1)[0])
    labels = drawn(2000, seed=1)[1]
    assert (test.answers == NOT_NEEDED).all()
    decided = decide(test, choose(validation, drawn(80)[1]))
    assert macro_f1(labels, test.answers) < 0.4
    assert macro_f1(labels, decided.answers) > 0.65
    assert decided.log_odds.tolist() == test.log_odds.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 60), st.booleans())
def test_the_threshold_is_the_mean_of_those_within_a_standard_error_of_the_best(seed, count, tied):
    log_odds, references = drawn(count, seed=seed)
    references[:2] = NEEDED, NOT_NEEDED
    if tied:
        log_odds = np.round(log_odds)
    values = np.unique(log_odds)
    between = (values[1:] + values[:-1]) / 2
    scores = np.array([macro_f1(references, answers_at(log_odds, np.zeros(count), each)) for each in between])
    # Far from a score that rounding could move across the edge.
    edge = scores.max() - 0.5 / np.sqrt(count)
    if np.abs(scores - edge).min() > 1e-9:
        assert central_threshold(log_odds, references) == pytest.approx(between[scores >= edge].mean())


def test_it_moves_and_stretches_with_the_log_odds():
    log_odds, references = drawn(50)
    first = central_threshold(log_odds, references)
    assert central_threshold(3 * log_odds + 7, references) == pytest.approx(3 * first + 7)


@pytest.mark.parametrize(("count", "needed"), [(19, 9), (30, 4), (30, 26)])
def test_on_too_few_items_none_is_chosen_and_the_answers_stay(count, needed):
    given = predictions(drawn(count)[0])
    assert choose(given, np.array([NEEDED] * needed + [NOT_NEEDED] * (count - needed))) is None
    assert decide(given, None) is given


def test_without_probabilities_none_is_chosen():
    log_odds, references = drawn(40)
    assert choose(predictions(log_odds, known=False), references) is None
    assert choose(predictions(np.zeros(40)), references) is None
    assert choose(predictions(log_odds), references) is not None


def test_do_not_know_and_ties_are_unknown():
    log_odds = np.array([2.0, 0.0, 1.0, 2.0, 2.0])
    p_unknown = np.array([0.4, 0.49, 0.0, 0.5, 0.9])
    assert answers_at(log_odds, p_unknown, 1.0).tolist() == [NEEDED, NOT_NEEDED, UNKNOWN, UNKNOWN, UNKNOWN]


def test_an_answer_without_probabilities_stays():
    given = predictions(np.array([-1.0, -1.0]))
    given.known[1] = False
    assert decide(given, -2.0).answers.tolist() == [NEEDED, NOT_NEEDED]
