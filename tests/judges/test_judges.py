"""The judges: what the rules say of single texts, and what the chat's own marks teach."""

import json
import os
import random
import subprocess

import numpy as np
import pytest

from chatladder.distributed import workers
from chatladder.io.console import DataError
from chatladder.io.rows import TURNS, Rows, write_rows
from chatladder.judges import punctuation
from chatladder.judges.rules import score_text
from chatladder.judges.scoring import JUDGES
from chatladder.judges.texts import TextTurns, sentences, spoken
from tests.conftest import ROOT

PASSES = 5


class Texts:
    """Text turns in memory, in parts, as a file gives them."""

    def __init__(self, texts, size=350):
        self.num_rows = len(texts)
        self._texts, self._size = texts, size

    def map(self, function, *shared):
        for start in range(0, self.num_rows, self._size):
            yield function(self._texts[start : start + self._size], start, *shared)

    def texts(self):
        yield from self.map(lambda texts, start: texts)

    def replies(self):
        return np.zeros(self.num_rows, bool)

    def take(self, positions):
        return [self._texts[position] for position in positions.tolist()]


@pytest.mark.parametrize(
    "text",
    [
        "请问如何配置 cuda 环境变量",
        "能不能换成 4bit 量化",
        "有沒有人用過這個工具嗎？",
        "你用什么版本",
        "求助，安装完重启黑屏",
        "报错了 有人遇到过吗",
        "不知道为什么启动不了",
        "那显卡驱动呢？",
        "does it work on 12.04",
        "hi all, what is the best way to mount a disk",
        "anyone know a good editor",
        "I have two cards, how do i use the second one",
        "装好了\nTraceback (most recent call last):\n这个怎么解决？",
        "同一个异常is there a workaround",
        'what does "permission denied" mean?',
        "what am i missing?",
        "why 10.04?",
    ],
)
def test_rules_pass_real_questions(text):
    assert score_text(text) >= PASSES


@pytest.mark.parametrize(
    "text", ["这个怎么装？", "显存够吗", "这个报错什么意思", "it works?\nhow do I undo that?", "How can I do it ?"]
)
def test_rules_pass_elliptical_questions(text):
    """Questions short of subject or object are what the project studies."""
    assert score_text(text) >= PASSES


@pytest.mark.parametrize(
    "text",
    [
        "在吗？",
        "早上好？",
        "真的假的？？",
        "有人吗？",
        "你好？",
        "hello?",
        "anyone here?",
        "what's up?",
        "really??",
        "什么？",
    ],
)
def test_rules_refuse_greetings_and_echoes_with_a_mark(text):
    assert score_text(text) < PASSES


@pytest.mark.parametrize(
    "text",
    [
        "重启一下就好了",
        "没什么问题，装哪个版本都可以",
        "i know how to do it",
        "that is what it is for",
        "when i boot it shows a blank screen",
        "难道你没看文档？",
        "这么简单的事何必问呢？",
        "他问我什么时候发版",
        '面试题："什么是虚函数？"',
        "maybe try rebooting it?",
        "太慢了吧？！",
        "https://example.org/x?y=1",
        "if (a > b) { return c ? d : e; } /* what? */",
        "> how do i install this?",
        "[2024-01-01 10:00:00] ERROR what happened?",
        "",
    ],
)
def test_rules_refuse_statements_rhetoric_quotations_and_pastes(text):
    assert score_text(text) < PASSES


def test_rules_score_a_complete_question_10_and_less_for_each_missing_part():
    complete, terse, statement = map(score_text, ["新版本的显卡驱动怎么安装？", "怎么安装？", "安装新版本的显卡驱动。"])
    assert complete == 10 > terse > statement == 0


def test_rules_pass_over_the_name_a_line_is_addressed_to():
    assert score_text("@u1a2b3c4d 驱动怎么装？") == score_text("驱动怎么装？")
    assert score_text("@u1a2b3c4d how do i install it") == score_text("how do i install it")


def test_rules_take_time_in_proportion_to_hostile_text():
    for text in ("@" * 20_000, "（" * 20_000, "a?" * 10_000, "“" * 20_000 + "?", "how " * 10_000, "不" * 20_000 + "吗"):
        assert 0 <= score_text(text) <= 10


def test_sentences_keep_marks_apart_and_dots_inside_words():
    assert sentences("装 12.04 吗？？\n好的。see a.py. ok ? ") == [
        ("装 12.04 吗", "？？\n"),
        ("好的", "。"),
        ("see a.py", "."),
        ("ok", "?"),
    ]


def test_spoken_drops_addresses_of_people_and_pages():
    assert spoken("@u1a2b3c4d @<user> see\n@u1a2b3c4d, http://x.org/?q=1打不开") == "see\n link 打不开"


def small_chat(count, marked=True, seed=0):
    """A made-up chat in which "ka" opens what is asked, whose mark is left out every third time."""
    draw = random.Random(seed)
    words = ["mo", "ti", "ru", "sel", "vap", "nin", "dor"]
    texts = []
    for number in range(count):
        asks = number % 4 == 0
        said = " ".join(["ka"] * asks + draw.choices(words, k=4))
        texts.append(said + ("?" if asks and marked and number % 12 else "."))
    return texts


def test_punctuation_finds_questions_whose_mark_was_left_out():
    texts = small_chat(800)
    scores = np.asarray(punctuation.score(Texts(texts), seed=0))
    unmarked = [score for score, text in zip(scores, texts, strict=True) if text.startswith("ka") and "?" not in text]
    statements = [score for score, text in zip(scores, texts, strict=True) if not text.startswith("ka")]
    assert len(unmarked) > 50
    assert np.mean(np.array(unmarked) >= PASSES) > 0.9
    assert np.mean(np.array(statements) >= PASSES) < 0.1


def test_punctuation_never_scores_a_turn_by_a_model_that_saw_it():
    """Words that no other turn has teach only the models of other folds, so the turn's own mark moves nothing."""
    texts = small_chat(1000)
    texts[501] = "unique words here?"
    marked = punctuation.score(Texts(texts), seed=3)
    texts[501] = "unique words here."
    unmarked = punctuation.score(Texts(texts), seed=3)
    # The share of marks scales every score a little.
    assert unmarked[501] == pytest.approx(marked[501], rel=0.02)


def test_punctuation_deals_neighbours_into_one_fold_and_uses_every_fold():
    folds = punctuation.deal_folds(10_000, seed=3)
    assert set(folds.tolist()) == set(range(punctuation.FOLDS))
    assert (folds[:200] == folds[0]).all()
    assert set(punctuation.deal_folds(100, seed=3).tolist()) == set(range(punctuation.FOLDS))


def test_punctuation_learns_from_a_sample_of_a_large_chat(monkeypatch):
    monkeypatch.setattr(punctuation, "LEARN_FROM_TURNS", 600)
    texts = small_chat(1200)
    scores = np.asarray(punctuation.score(Texts(texts), seed=0))
    asks = np.array([text.startswith("ka") for text in texts])
    assert (scores[asks] >= PASSES).mean() > 0.9
    assert (scores[~asks] >= PASSES).mean() < 0.1


def test_punctuation_refuses_a_chat_with_too_few_marks():
    with pytest.raises(DataError, match=r"at least 50 sentences with a question mark.*got 0 among 400.*rules alone"):
        punctuation.score(Texts(small_chat(400, marked=False)), seed=0)


def scores_of_all():
    turns = Texts(small_chat(400))
    return {name: np.asarray(judge.score(turns, 0)).tobytes().hex() for name, judge in JUDGES.items()}


def test_scores_do_not_depend_on_the_hash_seed(python, warm):
    command = [python, "-m", "tests.judges.test_judges"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **warm}, capture_output=True, check=True)
    assert json.loads(done.stdout) == scores_of_all()


def test_every_judge_scores_each_turn_from_0_to_10():
    turns = Texts(small_chat(400))
    for judge in JUDGES.values():
        scores = np.asarray(judge.score(turns, seed=0))
        assert scores.shape == (400,)
        assert scores.min() >= 0
        assert scores.max() <= 10


@pytest.mark.parametrize(
    ("text", "reply_to", "score"),
    [
        ("my wifi is gone", None, 10),
        ("ask @u1a2b3c4d, he knows", None, 10),
        ("@u1a2b3c4d my wifi is gone", None, 0),
        ("yes\n@u1a2b3c4d try this", None, 0),
        ("u1a2b3c4d : try this", None, 0),
        ("u1a2b3c4d0 is no pseudonym", None, 10),
        ("it is", "m7", 0),
    ],
)
def test_a_message_is_addressed_by_its_first_words_or_as_a_reply(tmp_path, text, reply_to, score):
    row = {"turn_id": "t", "group": "g", "sender": "u2", "timestamp": 1, "kind": "text", "text": text}
    image = row | {"kind": "image", "text": None, "message_ids": ["m0"], "reply_to": "m1"}
    write_rows(tmp_path / "turns.parquet", [image, row | {"message_ids": ["m"], "reply_to": reply_to}], TURNS)
    with workers() as pool:
        scores = JUDGES["unaddressed"].score(TextTurns(Rows(tmp_path / "turns.parquet", TURNS), pool), 0)
    assert scores.tolist() == [score]


if __name__ == "__main__":
    print(json.dumps(scores_of_all()))
