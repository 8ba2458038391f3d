"""Buying labels by a rule: how many a curve needs, and that nothing of the test is bought."""

import numpy as np
import pytest

from benchmarks.label_next import BASELINE, RULES, Pool, needs, next_batch

NUMBERS = np.array([10, 20, 30])


@pytest.mark.parametrize(
    ("curve", "target", "labels"),
    [
        ([0.5, 0.6, 0.7], 0.65, 25),
        ([0.5, 0.6, 0.7], 0.4, 10),
        ([0.5, 0.6, 0.7], 0.9, 30),
        ([0.5, 0.7, 0.6], 0.575, 15),  # made to rise, the last two are equal
        ([0.5, 0.5, 0.5], 0.5, 10),
    ],
)
def test_the_labels_that_a_curve_needs(curve, target, labels):
    assert needs(NUMBERS, np.array(curve), target) == pytest.approx(labels)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_of_what_is_left_and_a_fifth_of_what_is_chosen_is_drawn_blind(rule, monkeypatch):
    count = 200
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    features = {name: generator.normal(size=(count, 3)) for name in ("line", "trees", "counts")}
    pool = Pool("p", labels, np.array([f"c{each // 4}" for each in range(count)]), features, labels.astype(float))
    bought, left = np.arange(40), np.arange(40, 140)
    chosen = []
    measure = RULES[rule]
    if measure:
        monkeypatch.setitem(RULES, rule, lambda voices, cut: chosen.append(measure(voices, cut)) or chosen[-1])
    batch = next_batch(pool, rule, bought, left, 20, np.random.default_rng(1))
    assert len({*batch.tolist()}) == 20
    assert {*batch.tolist()} <= {*left.tolist()}
    if rule == BASELINE:
        assert batch.tolist() == left[:20].tolist()
    blind = np.random.default_rng(1).permutation(left)[:4]
    assert ({*blind.tolist()} <= {*batch.tolist()}) == bool(measure or rule == "questions at random")
    if measure:
        others = np.random.default_rng(1).permutation(left)[4:]
        assert {*batch.tolist()} - {*blind.tolist()} == {*others[np.argsort(chosen[0], kind="stable")[:16]].tolist()}
