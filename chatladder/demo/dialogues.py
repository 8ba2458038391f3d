"""Everyday dialogues that the embedded ladder is pretrained on.

They stand in for what a downloaded chat model has read: small talk about food, films and flats, never about the
chat that is being labelled. Topics, names, templates and content words are disjoint from the simulated group chat
(a test asserts it); only the function words of the language are shared, as between any two texts.

The question that each dialogue ends in is labelled by rule: it *needs* its history where something it refers to is
said there. Source of the idea: arXiv 2405.02817, section 3.
"""

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_BANK: dict[str, Any] = tomllib.loads((Path(__file__).parent / "dialogues.toml").read_text(encoding="utf-8"))
#: Kinds of things by one-word nouns, each with questions that are asked of that kind alone; and nouns without any.
KINDS: dict[str, list[str]] = _BANK["kinds"]
MORE_NOUNS: list[str] = _BANK["more_nouns"]
ANY_QUESTIONS: list[str] = _BANK["any_questions"]
ENDINGS: list[str] = _BANK["endings"]
MARKS: list[str] = _BANK["marks"]
POINTING: list[str] = _BANK["pointing"]
LATIN_SHAPES: list[str] = _BANK["latin_shapes"]
#: Templates of questions by form, and of what else is said.
QUESTIONS: dict[str, list[str]] = _BANK["forms"]
TALK: dict[str, list[str]] = _BANK["talk"]
MENTIONS_WITH_NOUN = [mention for mention in TALK["mentions"] if "{n}" in mention]
SYLLABLES = "青禾云栖海棠松月南山白鹭星河拾光锦里春晓竹影听雨半夏朝暮鹿鸣长安归雁流萤望舒紫薇丹枫"
#: The 3,755 common hanzi: level 1 of GB2312 is rows 16 to 55, the last of them short.
HANZI = tuple(
    bytes((0xA0 + row, 0xA0 + cell)).decode("gb2312")
    for row in range(16, 56)
    for cell in range(1, 95 if row < 55 else 90)
)
JUNK = "丶彡灬氵〇＃％＆＊＠￥…—々〆ゞ"
CONSONANTS, VOWELS = "bcdfghjklmnprstvwxz", "aeiou"

#: How often each form is asked; the first four need history only where it holds an antecedent.
FORMS = {"with_noun": 26, "pronoun": 16, "dropped": 16, "incomplete": 8, "named": 18, "same_message": 16}
JUNK_SHARE = 0.04
#: How much of what is said is made of invented words. A model that knew only the phrases of the file would know them by
#: heart; one that has met every hanzi in a role it did not learn by heart reads the roles.
INVENTED_SHARE = 0.5


class Dialogue(NamedTuple):
    """A window of (sender, text), oldest first, the question that follows it, and its label."""

    window: list[tuple[str, str]]
    sender: str
    text: str
    label: str  # needed, not_needed or unknown
    form: str


class _Thing(NamedTuple):
    noun: str
    name: str


def dialogues(count: int, seed: int) -> Iterator[Dialogue]:
    """Yield ``count`` labelled dialogues, the same ones for the same ``seed``."""
    rng = random.Random(f"world:{seed}")
    for _ in range(count):
        yield _junk(rng) if rng.random() < JUNK_SHARE else _dialogue(rng)


def _dialogue(rng: random.Random) -> Dialogue:
    form = rng.choices(list(FORMS), weights=list(FORMS.values()))[0]
    thing = _thing(rng)
    said = form not in ("named", "same_message") and rng.random() < 0.6
    others = [_thing(rng) for _ in range(rng.choice((0, 1, 1, 2)))]
    if form in ("pronoun", "dropped") and not said:
        others = []  # nothing in sight that the pronoun could mean
    if form in ("named", "same_message") and rng.random() < 0.4:
        others = [thing, *others]
    window = _window(rng, ([thing] if said else []) + others, noun_said=form == "with_noun")
    label = "needed" if said else "not_needed"
    return Dialogue(window, _sender(rng), _question(rng, form, thing), label, form)


def _question(rng: random.Random, form: str, thing: _Thing) -> str:
    if rng.random() < INVENTED_SHARE:
        opening = rng.choice(("", _word(rng), _word(rng) + "，", _word(rng) + _word(rng)))
        pointing = rng.choice(POINTING)
        invented = {
            "with_noun": f"{opening}{pointing}{{n}}{{q}}",
            "pronoun": f"{opening}{rng.choice(('它', '这个', '那个', '这', pointing))}{{q}}",
            "dropped": f"{opening}{{q}}",
            "incomplete": f"{{e}}{pointing}{_word(rng)}{rng.choice(ENDINGS).format(w=_word(rng), l=_latin(rng))}",
            "named": f"{opening}{rng.choice(('{e}', '{e}', '{n}{e}', '{e}{n}'))}{{q}}",
            "same_message": f"{opening}{{e}}{_word(rng)}，{rng.choice(('', '它', pointing, pointing + '{n}'))}{{q}}",
        }[form]
        return _fill(rng, invented, thing) + rng.choice(MARKS)
    return _fill(rng, rng.choice(QUESTIONS[form]), thing) + rng.choice(MARKS)


def _window(rng: random.Random, things: list[_Thing], noun_said: bool = False) -> list[tuple[str, str]]:
    """At most 12 messages; every thing is mentioned, in random places, with its noun if ``noun_said``."""
    length = max(2 * len(things), rng.choice((0, 4, 8, 12, 12, 12)))
    texts = [_chatter(rng) for _ in range(length)]
    mentioned = [thing for thing in things for _ in range(rng.choice((1, 1, 2)))]
    for place, thing in zip(rng.sample(range(length), len(mentioned)), mentioned, strict=True):
        texts[place] = _mention(rng, thing, noun_said)
    return [(_sender(rng), text) for text in texts]


def _chatter(rng: random.Random) -> str:
    if rng.random() < INVENTED_SHARE:
        return "".join(_word(rng) for _ in range(rng.randint(1, 4))) if rng.random() < 0.9 else _latin(rng)
    return rng.choice(TALK["small_talk" if rng.random() < 0.5 else "replies"])


def _mention(rng: random.Random, thing: _Thing, noun_said: bool = False) -> str:
    if rng.random() < INVENTED_SHARE:
        before = rng.choice(("", _word(rng), _word(rng) + _word(rng)))
        noun = rng.choice(("这个{n}", "那个{n}", "{n}", "，{n}")) if noun_said or rng.random() < 0.3 else ""
        name = rng.choice(("{e}" + noun, noun + "{e}"))
        return _fill(rng, before + name + rng.choice(("", _word(rng), "，" + _word(rng) + _word(rng))), thing)
    return _fill(rng, rng.choice(MENTIONS_WITH_NOUN if noun_said else TALK["mentions"]), thing)


def _fill(rng: random.Random, template: str, thing: _Thing) -> str:
    return template.format(e=thing.name, n=thing.noun, q=_asked(rng, thing))


def _asked(rng: random.Random, thing: _Thing) -> str:
    if rng.random() < INVENTED_SHARE:
        return rng.choice(ENDINGS).format(w=_word(rng), l=_latin(rng).lower())
    own = KINDS.get(thing.noun, ANY_QUESTIONS)
    return rng.choice(own if rng.random() < 0.6 else ANY_QUESTIONS)


def _thing(rng: random.Random) -> _Thing:
    if rng.random() < INVENTED_SHARE:
        noun = _word(rng)
    else:
        noun = rng.choice(tuple(KINDS) if rng.random() < 0.5 else MORE_NOUNS)
    if rng.random() < 0.3:
        name = (
            "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3))))
            if rng.random() < 0.5
            else _word(rng) + _word(rng)
        )
    else:
        name = _latin(rng)
    return _Thing(noun, name)


def _word(rng: random.Random) -> str:
    """An invented word of two common hanzi."""
    return rng.choice(HANZI) + rng.choice(HANZI)


def _latin(rng: random.Random) -> str:
    """An invented name in Latin letters, in one of the shapes that names have."""
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


def _junk(rng: random.Random) -> Dialogue:
    text = "".join(rng.choice(JUNK) for _ in range(rng.randint(6, 16)))
    return Dialogue(_window(rng, [_thing(rng)] if rng.random() < 0.5 else []), _sender(rng), text, "unknown", "junk")
