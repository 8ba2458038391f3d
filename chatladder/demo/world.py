"""Unlabelled talk that the embedded ladder is pretrained on: the words of the simulated group, in other sentences.

It stands in for the pretraining data of a downloaded chat model. The talk is about the same kinds of things as the
group's (models, software, data, machines), in the same words, as a real model's data would be; it contains no name and
no question of the group, and a test asserts that.

No question is labelled. All that is known of a dialogue is in its text: which question followed which talk.
"""

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_BANK: dict[str, Any] = tomllib.loads((Path(__file__).parent / "world.toml").read_text(encoding="utf-8"))
LATIN_SHAPES: list[str] = _BANK["latin_shapes"]
MARKS: list[str] = _BANK["marks"]
#: Sentences around one word, questions by form, and other talk.
SENTENCES: dict[str, list[str]] = _BANK["sentences"]
QUESTIONS: dict[str, list[str]] = _BANK["forms"]
TALK: dict[str, list[str]] = _BANK["talk"]
#: The 3,755 common hanzi: level 1 of GB2312 is rows 16 to 55, the last of them short.
HANZI = tuple(
    bytes((0xA0 + row, 0xA0 + cell)).decode("gb2312")
    for row in range(16, 56)
    for cell in range(1, 95 if row < 55 else 90)
)
CONSONANTS, VOWELS = "bcdfghjklmnprstvwxz", "aeiou"
#: The share of dialogues whose question is the one that followed; in the others it is that of another dialogue.
FOLLOWED = 0.5
#: The number of words from questions, and of words from remarks, in one article.
ARTICLE_WORDS = 4


class Kind(NamedTuple):
    """A kind of things: its nouns, and the words of questions and of remarks about such things."""

    nouns: list[str]
    asked: list[str]
    remarked: list[str]


KINDS = {name: Kind(**words) for name, words in _BANK["kinds"].items()}
#: Every word of every kind.
WORDS = tuple(word for kind in KINDS.values() for words in kind for word in words)


class Dialogue(NamedTuple):
    """A window of (sender, text), oldest first, a question, and whether it is the one that followed the window."""

    window: list[tuple[str, str]]
    sender: str
    text: str
    followed: bool


class _Thing(NamedTuple):
    kind: Kind
    name: str


def dialogues(count: int, seed: int, *, short: bool = False) -> Iterator[Dialogue]:
    """Yield dialogues, the same ones for the same ``seed``.

    Args:
        count: The number of dialogues.
        seed: The seed of the dialogues.
        short: True for one or two things and at most one line more, instead of up to three in up to twelve lines.
    """
    rng = random.Random(f"world:{seed}:{'short' if short else 'long'}")
    for _ in range(count):
        yield _dialogue(rng, short)


def articles(count: int, seed: int) -> Iterator[str]:
    """Yield texts about one kind of things each, the same ones for the same ``seed``."""
    rng = random.Random(f"articles:{seed}")
    for _ in range(count):
        kind = rng.choice([*KINDS.values()])
        words = rng.sample(kind.asked, ARTICLE_WORDS) + rng.sample(kind.remarked, ARTICLE_WORDS)
        yield rng.choice(kind.nouns) + "".join(words) + rng.choice(TALK["small_talk"])


def _dialogue(rng: random.Random, short: bool) -> Dialogue:
    count = rng.choice((1, 1, 2) if short else (1, 1, 2, 2, 3))
    *kinds, other = rng.sample([*KINDS.values()], count + 1)
    things = [_Thing(kind, _name(rng)) for kind in kinds]
    window = _window(rng, things, short)
    form = rng.choice([*QUESTIONS])
    followed = form == "plain" or rng.random() < FOLLOWED
    asked = rng.choice(things) if followed else _Thing(other, _name(rng))
    if form in ("named", "same_message") and rng.random() < 0.4:
        asked = asked._replace(name=_name(rng))  # people also ask by name about things that nobody mentioned
    return Dialogue(window, _sender(rng), _fill(rng, rng.choice(QUESTIONS[form]), asked) + rng.choice(MARKS), followed)


def _window(rng: random.Random, things: list[_Thing], short: bool) -> list[tuple[str, str]]:
    """Return at most 12 messages that mention every thing, at random positions."""
    length = len(things) + rng.randrange(2) if short else max(2 * len(things), rng.choice((4, 8, 12, 12, 12)))
    texts = [_chatter(rng) for _ in range(length)]
    mentioned = [thing for thing in things for _ in range(1 if short else rng.choice((1, 1, 2)))]
    for place, thing in zip(rng.sample(range(length), len(mentioned)), mentioned, strict=True):
        texts[place] = _fill(rng, rng.choice(TALK["mentions"]), thing)
    return [(_sender(rng), text) for text in texts]


def _chatter(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.06:
        return rng.choice(TALK["nouns"]).format(n=rng.choice(rng.choice([*KINDS.values()]).nouns))
    if roll < 0.12:
        return rng.choice(TALK["leisure"]).format(e=_name(rng))
    return rng.choice(TALK["small_talk" if roll < 0.56 else "replies"])


def _fill(rng: random.Random, template: str, thing: _Thing) -> str:
    asked = rng.choice(SENTENCES["asked"]).format(w=rng.choice(thing.kind.asked))
    remark = rng.choice(SENTENCES["remarked"]).format(w=rng.choice(thing.kind.remarked))
    return template.format(e=thing.name, n=rng.choice(thing.kind.nouns), q=asked, r=remark)


def _name(rng: random.Random) -> str:
    """Return an invented name, mostly in Latin letters, in one of the shapes that names have."""
    if rng.random() < 0.2:
        return "".join(rng.choice(HANZI) for _ in range(4))
    first, second = (
        "".join(
            rng.choice(CONSONANTS) + rng.choice(VOWELS) + rng.choice(("", "", "n", "r", "s"))
            for _ in range(rng.choice((1, 2, 2)))
        )
        for _ in range(2)
    )
    return rng.choice(LATIN_SHAPES).format(
        a=first, b=second, A=first.capitalize(), B=second.capitalize(), c=second[:2], d=rng.randint(1, 99)
    )


def _sender(rng: random.Random) -> str:
    return rng.choice("甲乙丙丁戊")
