"""The prompt that every model sees, and alpaca rows of it: history, question and three options in shuffled order.

The fixed texts and those of the answers live in ``prompts/<wording>.<language>.toml``, with the placeholders
``{history}``, ``{question}`` and ``{options}``; this module fills them in, so training, prediction and the embedded
family's pretraining agree. Embedded models know the wording ``definition`` alone. ``question`` asks in fewer words, and
names whom a message mentions as lines name people; the catalogues of downloaded models set it. Untouched models of up
to 1.5B understand neither (benchmarks/real).
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from math import factorial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.io.options import setting
from chatladder.io.rows import SPLITS
from chatladder.vocabulary import ANSWERS

LANGUAGES = ("zh", "en")
#: ``definition`` says what needed means and asks which it is; ``question`` asks whether a stranger would understand.
WORDINGS = ("definition", "question")
#: ``lettered`` answers "B: needed", ``text`` answers "needed" alone.
ANSWER_FORMS = ("text", "lettered")
#: How a line names its speaker; people are numbered, those who speak first, so no pseudonym is learned.
SPEAKERS = {"zh": "用户{}：", "en": "user {}: "}
_PSEUDONYM = re.compile(r"(?<![0-9A-Za-z])u(?:[0-9a-f]{16}|[0-9a-f]{8})(?![0-9A-Za-z])")
LETTERS = ("A: ", "B: ", "C: ")
#: Stands for a line break inside a message: one message is always one line.
LINE_BREAK = "⏎"
SEPARATOR = "/"
#: Orders that the options can stand in.
ORDERS = factorial(len(ANSWERS))
#: Fields that an alpaca row must have.
ALPACA_FIELDS = ("item_id", "instruction", "output", "options")


@dataclass(frozen=True)
class PromptSettings:
    """How a question becomes a prompt, as the section ``prompt`` of params.yaml says."""

    language: str = setting("Language of the prompt.", choices=LANGUAGES)
    answer: str = setting("Form of the answer: needed, or B: needed.", choices=ANSWER_FORMS)
    seed: int = setting("Seed of the order of the options.")
    wording: str = setting("How it is asked; embedded rungs know definition.", choices=WORDINGS, default="definition")


@dataclass(frozen=True)
class PredictSettings:
    """How a prompt is answered, as the section ``predict`` of params.yaml says."""

    orders: int = setting(
        "Orders of the options that an answer is averaged over.", default=ORDERS, least=1, most=ORDERS
    )
    by: str = setting(
        "Score the options; or let the model write, in one order, and read which it names.",
        choices=("score", "generate"),
        default="score",
    )


class Prompt(NamedTuple):
    """One filled-in prompt.

    Attributes:
        instruction: All that the model reads.
        options: The full text of each answer, keyed by ``ANSWERS``.
    """

    instruction: str
    options: dict[str, str]


class Wording(NamedTuple):
    """A way to ask in one language.

    Attributes:
        text: The fixed text, with its three placeholders.
        options: The text of each answer, keyed by ``ANSWERS``.
        mention: How a message names a person by number; empty to leave pseudonyms in messages as they are.
    """

    text: str
    options: dict[str, str]
    mention: str


@cache
def wording_of(name: str, language: str) -> Wording:
    """Return one of ``WORDINGS`` in one of ``LANGUAGES``."""
    path = Path(__file__).parent / "prompts" / f"{name}.{language}.toml"
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return Wording(content["text"], {answer: content[answer] for answer in ANSWERS}, content.get("mention", ""))


def render(window: Sequence[tuple[str, str]], sender: str, text: str, item_id: str, settings: PromptSettings) -> Prompt:
    """Fill the template in.

    Args:
        window: (sender, text) of the earlier turns, oldest first.
        sender: Who asks.
        text: The question.
        item_id: Decides the order of the options together with the seed: each item's order is its own.
        settings: Language, form of the answer, and seed.
    """
    language = settings.language
    wording = wording_of(settings.wording, language)
    people = [*(name for name, _ in window), sender]
    people += [name for said in (*(said for _, said in window), text) for name in _PSEUDONYM.findall(said)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(people), 1)}
    speaker = SPEAKERS[language]

    def line(name: str, said: str) -> str:
        if wording.mention:
            said = _PSEUDONYM.sub(lambda found: wording.mention.format(numbers[found[0]]), said)
        return speaker.format(numbers[name]) + one_line(said)

    lines = [line(name, said) for name, said in window]
    shuffled = list(ANSWERS)
    Random(f"{settings.seed}:{item_id}").shuffle(shuffled)
    texts = {key: wording.options[key] for key in shuffled}
    listed, options = _listed(texts, is_lettered=settings.answer == "lettered")
    before, between, after, end = _pieces(settings.wording, language)
    question = line(sender, text)
    # Joined, not formatted: a message that holds "{options}" must stay what it is.
    instruction = "".join([before, "\n".join(lines), between, question, after, listed, end])
    return Prompt(instruction, options)


def _listed(texts: Mapping[str, str], *, is_lettered: bool) -> tuple[str, dict[str, str]]:
    """Return the options as a prompt lists them, in the order of ``texts``, and each one's full text by ``ANSWERS``."""
    letters = LETTERS if is_lettered else ("",) * len(texts)
    options = {key: letter + text for letter, (key, text) in zip(letters, texts.items(), strict=True)}
    return SEPARATOR.join(options.values()), {key: options[key] for key in ANSWERS}


def orders_of(prompt: Prompt, count: int) -> list[Prompt]:
    """Return a prompt with its options in several orders: its own, then others, drawn for each prompt by its text.

    Args:
        prompt: A prompt of ours.
        count: How many orders, 1 to ``ORDERS``.

    Raises:
        DataError: If more than one order is wanted of a prompt that does not end in its options.
    """
    if count == 1:
        return [prompt]
    start, shown, end = _split(prompt)
    is_lettered = prompt.options[shown[0]].startswith(LETTERS[0])
    texts = {
        key: prompt.options[key].removeprefix(letter if is_lettered else "")
        for letter, key in zip(LETTERS, shown, strict=True)
    }
    others = [order for order in permutations(ANSWERS) if order != shown]
    Random(prompt.instruction).shuffle(others)
    prompts = [prompt]
    for order in others[: count - 1]:
        listed, options = _listed({key: texts[key] for key in order}, is_lettered=is_lettered)
        prompts.append(Prompt(start + listed + end, options))
    return prompts


def _split(prompt: Prompt) -> tuple[str, tuple[str, ...], str]:
    """Return a prompt's text before its options, the order in which it lists them, and its text after them."""
    for wording, language in product(WORDINGS, LANGUAGES):
        end = _pieces(wording, language)[-1]
        for order in permutations(ANSWERS):
            tail = SEPARATOR.join(prompt.options[key] for key in order) + end
            if prompt.instruction.endswith(tail):
                return prompt.instruction.removesuffix(tail), order, end
    raise DataError(
        f"expected a prompt that ends in its options, got one that ends in {prompt.instruction[-40:]!a}. "
        "Set orders to 1, or run stages.to_alpaca again."
    )


def render_row(row: Mapping[str, Any], settings: PromptSettings) -> Prompt:
    """Return the prompt of one row of ``questions`` or ``labelled``."""
    window = [(turn["sender"], turn["text"]) for turn in row["window"]]
    return render(window, str(row["sender"]), str(row["text"]), str(row["item_id"]), settings)


def alpaca_row(row: Mapping[str, Any], settings: PromptSettings) -> dict[str, Any]:
    """Return one labelled question as a row that models are trained on.

    Trainers of alpaca data read ``instruction`` (the whole prompt), ``input`` (empty) and ``output`` (the full text of
    the right option); ``item_id`` traces a row, and ``options`` (the full text of every option, by its key) lets it be
    scored.
    """
    prompt = render_row(row, settings)
    return {
        "item_id": row["item_id"],
        "instruction": prompt.instruction,
        "input": "",
        "output": prompt.options[row["label"]],
        "options": prompt.options,
    }


def alpaca_splits(labelled: Iterable[Mapping[str, Any]], settings: PromptSettings) -> dict[str, list[dict[str, Any]]]:
    """Return the alpaca rows of each split, in the order of the labelled questions."""
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row in labelled:
        splits[row["split"]].append(alpaca_row(row, settings))
    return splits


def read_alpaca(path: Path) -> list[dict[str, Any]]:
    """Return the rows that ``stages.to_alpaca`` wrote into a file.

    Raises:
        DataError: If the file is not a list of such rows.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of alpaca rows, got {type(rows).__name__}.")
    for number, row in enumerate(rows, start=1):
        missing = [name for name in ALPACA_FIELDS if not isinstance(row, dict) or name not in row]
        if missing:
            raise DataError(f"{path}: row {number}: expected {', '.join(ALPACA_FIELDS)}; missing {', '.join(missing)}.")
        if row["output"] not in row["options"].values():
            raise DataError(f"{path}: row {number}: expected the output to be one of the row's options.")
    return rows


def one_line(text: str) -> str:
    """The text on one line, so that no message can pose as another history line or as the options."""
    return LINE_BREAK.join(text.splitlines())


def without_oldest(instruction: str) -> str | None:
    """The same prompt less its oldest history line, or None if it has none (or is no prompt of ours)."""
    for wording, language in product(WORDINGS, LANGUAGES):
        before, between, _, _ = _pieces(wording, language)
        body = instruction.removeprefix(before)
        if body != instruction and not body.startswith(between):
            rest = body[body.index("\n") :]
            # The last line leaves its break behind: an empty history is an empty line.
            return before + (rest if rest.startswith(between) else rest[1:])
    return None


def fixed_texts() -> list[str]:
    """Every fixed string of the prompts that embedded models know, each starting with the line break before it.

    A tokenizer may give each its own token. No message holds a line break, so none can forge these.
    """
    texts: list[str] = []
    for language in LANGUAGES:
        texts += [piece.rstrip("\n ") for piece in _pieces(WORDINGS[0], language)]
        # 12 turns of history and the question: at most 13 people.
        texts += ["\n" + SPEAKERS[language].format(number) for number in range(1, 14)]
    return texts


def option_texts() -> list[str]:
    """The texts that their answers are made of: the options of every language and the letters before them."""
    return [text for language in LANGUAGES for text in wording_of(WORDINGS[0], language).options.values()] + list(
        LETTERS
    )


@cache
def _pieces(wording: str, language: str) -> tuple[str, str, str, str]:
    """The fixed text before the history, before the question, before the options, and after them."""
    before, rest = wording_of(wording, language).text.split("{history}")
    between, rest = rest.split("{question}")
    after, end = rest.split("{options}")
    return before, between, after, end
