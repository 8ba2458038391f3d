"""The trial of prompts asks as the product asks, and shows worked examples in the wording that it tries."""

from itertools import permutations

import pytest

from benchmarks.real.prompts import TRIALS, Trial, ask, prompts_of, wording
from chatladder.models.prompts import PromptSettings, render

WINDOW = [("u0f98d29d", "installed\n@u1af1ef8e"), ("u1af1ef8e", "fine")]
ROW = {
    "item_id": "1",
    "sender": "u00000003",
    "text": "@u0f98d29d is it slow?",
    "window": [{"sender": sender, "text": text} for sender, text in WINDOW],
}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_products_wording_is_asked_as_the_product_asks_it(language):
    prompt = render(WINDOW, ROW["sender"], ROW["text"], "1", PromptSettings(language, "text", 0, "question"))
    orders = permutations(prompt.options)
    asked = {ask(wording("question", language), WINDOW, ROW["sender"], ROW["text"], order) for order in orders}
    assert len(asked) == 6
    assert prompt.instruction in asked


@pytest.mark.parametrize("language", ["zh", "en"])
def test_examples_stand_before_the_question_and_are_answered(language):
    for text in TRIALS:
        trial = Trial.read(text)
        prompts = prompts_of([ROW], trial, language)
        assert len(prompts) == trial.orders
        answer = wording(trial.wording, language).text.rsplit("}", 1)[1].strip()
        assert all(prompt.instruction.count(answer) == trial.examples + 1 for prompt in prompts)
        assert all(prompt.instruction.endswith(answer) for prompt in prompts)
