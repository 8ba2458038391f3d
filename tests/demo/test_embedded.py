"""The embedded family: its tokenizer and its pretraining."""

import pytest

from chatladder.demo import embedded
from chatladder.demo.world import KINDS, WORDS, articles, dialogues
from chatladder.models.encoding import encode_rows
from chatladder.models.prompts import PromptSettings, fixed_texts, one_line, option_texts


@pytest.fixture(scope="module")
def tokenizer():
    return embedded.train_tokenizer(["the umbrella is here", "is the umbrella here"])


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.slow
def test_pretraining_teaches_a_small_model_to_match_a_question_to_what_was_said(taught_base):
    import torch

    from chatladder.models.batches import collate
    from chatladder.models.loading import load

    model, tokenizer = load(taught_base)
    unseen = list(dialogues(400, 9, short=True))
    rows = encode_rows(
        tokenizer, embedded.dialogue_rows(unseen, PromptSettings("zh", "text", 0)), embedded.CONTEXT
    ).examples
    options = tokenizer.convert_tokens_to_ids(["需要", "完整"])
    with torch.no_grad():
        logits = model(**collate(rows, tokenizer.pad_token_id).inputs, logits_to_keep=len(rows[0].answer)).logits
    needed, complete = logits[:, 0, options].T
    right = sum(
        (first > second).item() == each.followed for first, second, each in zip(needed, complete, unseen, strict=True)
    )
    assert right > 0.68 * len(unseen)


def test_words_of_one_kind_have_like_vectors():
    vectors = embedded.word_vectors([*articles(2_000, 3)], 6)
    kinds = [name for name, kind in KINDS.items() for group in kind for _ in group]
    alike = vectors @ vectors.T
    same = [alike[a, b] for a in range(len(WORDS)) for b in range(a) if kinds[a] == kinds[b]]
    other = [alike[a, b] for a in range(len(WORDS)) for b in range(a) if kinds[a] != kinds[b]]
    assert sum(same) / len(same) > 0.8
    assert abs(sum(other) / len(other)) < 0.2


def test_common_hanzi_and_fixed_texts_are_one_token_each(tokenizer):
    assert len(embedded.HANZI) == 3755
    for text in (*embedded.HANZI, *embedded.SIGNS, *fixed_texts(), *option_texts()):
        assert len(ids(tokenizer, text)) == 1, text
    assert len(ids(tokenizer, "雨伞不够")) == 4
    assert all(len(ids(tokenizer, word)) == 1 for word in WORDS)
    assert ids(tokenizer, "needed")[0] not in ids(tokenizer, "unneeded")


def test_any_text_survives_the_tokenizer(tokenizer):
    text = "显存 OOM 了😀 饕餮 naïve\t\x1b[31m «x» 1.2.3 ①"
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_no_message_holds_a_token_of_the_template(tokenizer):
    fixed = {ids(tokenizer, text)[0] for text in fixed_texts()}
    for text in fixed_texts():
        assert not fixed & set(ids(tokenizer, one_line(f"好{text}好")))
