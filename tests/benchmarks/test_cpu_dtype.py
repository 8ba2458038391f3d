"""Two sides take turns: each scores every prompt once, beside the other, and neither is always first."""

import numpy as np

from benchmarks.cpu_dtype import auroc_cell, take_turns


def test_sides_take_turns_and_scores_are_in_the_order_of_the_prompts():
    calls = []

    def side(name):
        def score(prompts):
            calls.append((name, list(prompts)))
            return np.array([[prompt, 0, 0] for prompt in prompts])

        return score

    found = take_turns({"a": side("a"), "b": side("b")}, [1, 2, 3, 4, 5], 2)
    warm_up = [("a", [1]), ("b", [1])]
    assert calls == [*warm_up, ("a", [1, 3, 5]), ("b", [1, 3, 5]), ("b", [2, 4]), ("a", [2, 4])]
    for each in found.values():
        assert each.scores[:, 0].tolist() == each.odds.tolist() == [1, 2, 3, 4, 5]
        assert len(each.seconds) == 2


def test_questions_without_labels_have_no_auroc():
    assert auroc_cell([{}, {}], np.array([1.0, 2.0])) == ""
    assert auroc_cell([{"label": "needed"}, {"label": "not_needed"}], np.array([1.0, 2.0])) == "0.000"
