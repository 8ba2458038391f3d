"""The embedded family: its tokenizer and its pretraining."""

import pytest

from chatladder.demo import embedded
from chatladder.demo.dialogues import dialogues
from chatladder.models.encoding import encode_rows
from chatladder.models.prompts import fixed_texts, one_line, option_texts


@pytest.fixture(scope="module")
def tokenizer():
    return embedded.train_tokenizer(["the umbrella is here", "is the umbrella here"])


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_pretraining_lowers_the_loss():
    items = list(dialogues(320, 1))
    tokenizer = embedded.train_tokenizer(d.text for d in items)
    settings = embedded.Pretraining("zh", "text", 320, 0.03, 0.02, 16, 2, (1,))
    rows = encode_rows(tokenizer, embedded.dialogue_rows(items, settings.prompt(1)), embedded.CONTEXT)
    model = embedded.random_model(embedded.EmbeddedShape(16, 1, 2, 32), len(tokenizer), 1)
    losses = embedded.pretrain(model, rows.examples, settings, 1, tokenizer.pad_token_id)
    assert len(losses) == 20
    assert losses[-1] < 0.5 * losses[0]


def test_common_hanzi_and_fixed_texts_are_one_token_each(tokenizer):
    assert len(embedded.HANZI) == 3755
    for text in (*embedded.HANZI, *embedded.SIGNS, *fixed_texts(), *option_texts()):
        assert len(ids(tokenizer, text)) == 1, text
    assert len(ids(tokenizer, "显存不够")) == 4
    assert ids(tokenizer, "needed")[0] not in ids(tokenizer, "unneeded")


def test_any_text_survives_the_tokenizer(tokenizer):
    text = "显存 OOM 了😀 饕餮 naïve\t\x1b[31m «x» 1.2.3 ①"
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_no_message_holds_a_token_of_the_template(tokenizer):
    fixed = {ids(tokenizer, text)[0] for text in fixed_texts()}
    for text in fixed_texts():
        assert not fixed & set(ids(tokenizer, one_line(f"好{text}好")))
