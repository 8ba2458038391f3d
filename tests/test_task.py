"""What is asked is a folder: labels, prompts and guidelines."""

import hashlib
import json
from itertools import product

from chatladder.models.prompts import (
    ANSWER_FORMS,
    LANGUAGES,
    PromptSettings,
    alpaca_row,
    fixed_texts,
    option_texts,
    orders_of,
    render_row,
    rewrite_row,
)
from chatladder.vocabulary import ANSWERS, KINDS, LABELS, SCORED

ROW = {
    "item_id": "9f2c",
    "sender": "u0a1b2c3d",
    "text": "@u11111111 它支持\nWindows 吗？",
    "label": "needed",
    "rewrite": "2.1 版支持 Windows 吗？",
    "window": [
        {"sender": "u11111111", "text": "u0a1b2c3d: 我装了 2.1 版", "timestamp": 1},
        {"sender": "u22222222", "text": "{options} ok", "timestamp": 2},
    ],
}
#: Of all that models and annotators are shown, as it was before tasks were folders: the committed models read these.
SHOWN = "586fff2d6dd3036932dc9c464e4d61e78e38e97385ab198aee51dfafa7646816"


def test_every_byte_that_the_models_of_the_demo_read_is_as_it_was():
    rows = []
    for wording, language, answer, seed in product(("definition", "question"), LANGUAGES, ANSWER_FORMS, range(7)):
        settings = PromptSettings(language, answer, seed, wording)
        rows.append(alpaca_row(ROW, settings))
        rows.append([list(prompt) for prompt in orders_of(render_row(ROW, settings), 6)])
    rows += [rewrite_row(ROW, language) for language in LANGUAGES]
    rows += [fixed_texts(), option_texts()]
    rows.append(
        [[kind.name, kind.words, kind.screen, kind.key, kind.colour, str(kind.is_answer)] for kind in KINDS.values()]
    )
    rows += [LABELS, ANSWERS, SCORED]
    assert hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest() == SHOWN
