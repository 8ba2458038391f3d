"""What needs no model: the rule about names, fifteen counts, and pairs of questions in the same words."""

import numpy as np
import pytest

from chatladder.evaluation.cheap_baselines import COUNTS, cheap_baselines, fifteen_counts, names_in, naming_rule
from chatladder.evaluation.pairs import contrast_pairs, pairs_right, words_of
from chatladder.evaluation.predictions import Items
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Draws, bootstrap


def question(text, *window, sender="a"):
    turns = [{"sender": who, "text": said, "timestamp": None} for who, said in window]
    return {"text": text, "sender": sender, "window": turns}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ncnn 怎么编译", ["ncnn"]),
        ("OpenVINO和v8哪个快", ["openvino", "v8"]),
        ("torch, cuda 都要装吗", ["torch", "cuda"]),
        ("跑 run_eval.sh 报错.", ["run_eval.sh"]),
        ("那个 is there a workaround？", []),
        ("@u12ab 用gg吗", []),
        ("这个能发到 <phone> 吗[image]", []),
        ("What about that one?", []),
        ("Does it run on Debian? Why not on v2", ["debian", "v2"]),
        ("I think I'd take the GPU", ["gpu"]),
        ("@Bob does main.py exit?", ["main.py"]),
        ("12 34", []),
        ("", []),
    ],
)
def test_names_are_told_by_their_look(text, names):
    assert names_in(text) == names


def test_what_names_nothing_needs_a_history_that_does():
    rows = [
        question("这个怎么装？", ("b", "试试ncnn")),
        question("ncnn怎么装？", ("b", "试试ncnn")),
        question("这个怎么装？", ("b", "吃了吗")),
        question("这个怎么装？"),
    ]
    assert naming_rule(rows).tolist() == [1, 0, 0, 0]


def test_counts_do_not_change_with_the_words():
    """Other characters of the same kind in the same places give the same fifteen figures."""
    one = question("这个v8怎么装？", ("b", "试试v8"), ("a", "好吧"))
    other = question("那只k3如何买？", ("b", "看看k3"), ("a", "嗯嗯"))
    assert fifteen_counts([one]).shape == (1, 15) == (1, len(COUNTS))
    assert fifteen_counts([one]).tolist() == fifteen_counts([other]).tolist()
    by_name = dict(zip(COUNTS, fifteen_counts([one])[0], strict=True))
    assert by_name["names that the window holds"] == 1
    assert by_name["turns back to the last name"] == 2
    assert by_name["turns of the asker"] == 1
    assert fifteen_counts([question("在吗")])[0, COUNTS.index("turns back to the last name")] == 1


def test_the_counts_are_learned_and_the_rule_is_not():
    learned = [question("长" * (3 + 20 * (number % 2))) for number in range(80)]
    labels = np.arange(80) % 2
    asked = [question("短短短"), question("又" * 23)]
    answers = cheap_baselines(learned, labels, asked)
    assert list(answers) == ["naming", "counts"]
    assert (answers["counts"] > 0.5).tolist() == [False, True]
    assert answers["naming"].tolist() == [0, 0]


def test_words_are_compared_without_mentions_white_space_and_punctuation_at_the_end():
    for text in ("这个怎么装？", "@ann 这个怎么装", " @ann  @bob 这个 怎么装?! ", "这个怎么装～"):
        assert words_of(text) == "这个怎么装"
    assert words_of("@ann") == "@ann"
    assert words_of("C++?") == "C++"
    assert words_of("？？") == ""


def test_pairs_have_the_same_words_one_conversation_and_opposite_labels():
    texts = ["怎么装？", "怎么装", "怎么装", "@b 怎么装", "别的"]
    conversations = ["c", "c", "c", "d", "c"]
    labels = np.array([NEEDED, NOT_NEEDED, NOT_NEEDED, NOT_NEEDED, NOT_NEEDED])
    items = Items(list("abcde"), conversations, labels)
    assert contrast_pairs(items, texts).tolist() == [[0, 1], [0, 2]]
    assert contrast_pairs(items, list("vwxyz")).shape == (0, 2)


def test_who_answers_by_the_question_alone_gets_no_pair_and_chance_a_quarter():
    count = 4_000
    references = np.arange(count) % 2
    items = Items([str(place) for place in range(count)], [str(place // 2) for place in range(count)], references)
    pairs = contrast_pairs(items, ["怎么装？"] * count)
    assert len(pairs) == count // 2
    sample = bootstrap(items.conversations, Draws(0, 100))
    assert set(pairs_right(pairs, references, np.zeros(count, dtype=np.int64), sample)) == {0}
    assert set(pairs_right(pairs, references, references, sample)) == {1}
    guessed = np.random.default_rng(0).integers(0, 2, count)
    assert pairs_right(pairs, references, guessed, sample)[0] == pytest.approx(0.25, abs=0.03)
