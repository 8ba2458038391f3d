"""The prompts that models see, and their alpaca rows.

One kind of prompt asks the question of the task, such as whether a question needs its history: it has the history, the
question, and the options in shuffled order. The other asks for a rewrite of the question, and has no options
(``REWRITE``).

The fixed texts and the answers are in ``prompts/<wording>.<language>.toml`` of the task's folder, with the
placeholders ``{history}``, ``{question}`` and ``{options}``; this module fills them in, so training, prediction and the
embedded family's pretraining agree. Embedded models know the wording ``definition`` only. ``question`` is shorter, and
writes mentions in messages as the history names its speakers; the catalogues of downloaded models use it. Untouched
models of up to 1.5B understand neither (benchmarks/real).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import permutations
from math import factorial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.io.options import setting
from chatladder.io.rows import PSEUDONYM, SPLITS
from chatladder.vocabulary import ANSWERS, NEGATIVE, TASK, Fields

LANGUAGES = ("zh", "en")
#: The prompt that asks for a rewrite of the question; it has no options.
REWRITE = "rewrite"
#: The name and language of each prompt of the task.
PROMPTS = tuple(
    (name, language)
    for name, _, language in sorted(path.stem.partition(".") for path in (TASK.folder / "prompts").glob("*.toml"))
    if language in LANGUAGES
)
#: The wordings of the task. For needs_history, ``definition`` defines "needed" and asks which option applies;
#: ``question`` asks whether a stranger would understand.
WORDINGS = tuple(dict.fromkeys(name for name, _ in PROMPTS if name != REWRITE))
#: The wording that embedded models know.
EMBEDDED_WORDING = "definition"
#: With ``lettered`` an answer is "B: needed", with ``text`` it is "needed".
ANSWER_FORMS = ("text", "lettered")
#: The speaker at the start of a line. People are numbers, in the order in which they speak, so that no pseudonym is
#: learned.
SPEAKERS = {"zh": "用户{}：", "en": "user {}: "}
_PSEUDONYM = re.compile(rf"(?<![0-9A-Za-z]){PSEUDONYM}(?![0-9A-Za-z])")
_ADDRESSED = re.compile(rf"\A(?:@?{_PSEUDONYM.pattern}[\s,:;，：；、]*)+")
#: The same three times in a row.
_THRICE = re.compile(r"(.{4,}?)\1\1")
LETTERS = tuple(f"{letter}: " for letter in "ABCDEF"[: len(ANSWERS)])
#: Replaces a line break inside a message, so that a message is always one line.
LINE_BREAK = "⏎"
SEPARATOR = "/"
_PLACES = ("{history}", "{question}", "{options}")
#: The number of possible orders of the options.
ORDERS = factorial(len(ANSWERS))
#: The default number of orders: all six of three options, or some of more, since each order costs a prompt.
USUAL_ORDERS = 6
#: Fields that an alpaca row must have.
ALPACA_FIELDS = ("item_id", "instruction", "output", "options")


@dataclass(frozen=True)
class PromptSettings:
    """The settings of a prompt: the section ``prompt`` of params.yaml."""

    language: str = setting("Language of the prompt.", choices=LANGUAGES)
    answer: str = setting("Form of the answer: needed, or B: needed.", choices=ANSWER_FORMS)
    seed: int = setting("Seed of the order of the options.")
    wording: str = setting("How it is asked; embedded rungs know definition.", choices=WORDINGS, default=WORDINGS[0])
    turns: int | None = setting(
        "The last turns of each window that a model is shown; all if not given.", default=None, least=0
    )


@dataclass(frozen=True)
class PredictSettings:
    """The settings of an answer: the section ``predict`` of params.yaml."""

    orders: int = setting(
        "Orders of the options that an answer is averaged over.", default=USUAL_ORDERS, least=1, most=ORDERS
    )
    by: str = setting(
        "Score the options; or let the model write, in one order, and read which it names.",
        choices=("score", "generate"),
        default="score",
    )


class Prompt(NamedTuple):
    """A filled-in prompt.

    Attributes:
        instruction: The whole text that the model reads.
        options: The full text of each answer, keyed by ``ANSWERS``; empty if the model is to write freely.
    """

    instruction: str
    options: dict[str, str]


class Wording(NamedTuple):
    """A prompt template in one language.

    Attributes:
        text: The fixed text, with its placeholders.
        options: The text of each answer, keyed by ``ANSWERS``; empty for ``REWRITE``.
        mention: The form of a mention in a message, with ``{}`` for the person's number; empty to leave pseudonyms in
            messages as they are.
    """

    text: str
    options: dict[str, str]
    mention: str


@cache
def wording_of(name: str, language: str) -> Wording:
    """Return the template of one of ``WORDINGS``, or of ``REWRITE``, in one of ``LANGUAGES``.

    Raises:
        DataError: If the task has no such file, or it is malformed.
    """
    fields = Fields(TASK.folder / "prompts" / f"{name}.{language}.toml")
    answers, places = (ANSWERS, _PLACES) if name != REWRITE else ((), _PLACES[:2])
    fields.only("text", "mention", *answers)
    text = fields.text("text", partial(_has, places), f"{' '.join(places)}, each once and in this order")
    options: dict[str, str] = {}
    for answer in answers:
        others = [*options.values()]
        options[answer] = fields.text(
            answer,
            lambda given, others=others: SEPARATOR not in given and not any(map(given.startswith, others)),  # type: ignore[misc]
            f"a text without {SEPARATOR} that does not begin as another answer does",
        )
    mention = (
        fields.text("mention", lambda given: given.count("{}") == 1, "a text with {}")
        if "mention" in fields.values
        else ""
    )
    return Wording(text, options, mention)


def _has(places: Sequence[str], text: str) -> bool:
    """Return True if a fixed text has its placeholders, each once and in order."""
    return re.findall("|".join(map(re.escape, _PLACES)), text) == [*places]


def render(window: Sequence[tuple[str, str]], sender: str, text: str, item_id: str, settings: PromptSettings) -> Prompt:
    """Fill in the template.

    Args:
        window: The earlier turns as (sender, text), oldest first.
        sender: The sender of the question.
        text: The question.
        item_id: The id of the item; with the seed it determines the order of the options, item by item.
        settings: The language, wording, form of the answer, and seed.
    """
    shuffled = list(ANSWERS)
    Random(f"{settings.seed}:{item_id}").shuffle(shuffled)
    texts = {key: wording_of(settings.wording, settings.language).options[key] for key in shuffled}
    listed, options = _listed(texts, is_lettered=settings.answer == "lettered")
    people = People(settings.wording, settings.language, window, sender, text)
    *shown, end = people.filled_in(window, sender, text)
    return Prompt("".join([*shown, listed, end]), options)


class People:
    """The numbers of the people who speak or are mentioned in a window and its question."""

    def __init__(self, wording: str, language: str, window: Sequence[tuple[str, str]], sender: str, text: str) -> None:
        """Number the speakers in the order in which they speak, then those who are mentioned; see ``render``."""
        people = [*(name for name, _ in window), sender]
        people += [name for said in (*(said for _, said in window), text) for name in _PSEUDONYM.findall(said)]
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(people), 1)}
        self._speaker, self._mention = SPEAKERS[language], wording_of(wording, language).mention
        self._pieces = _pieces(wording, language)

    def said(self, text: str) -> str:
        """Return a text in one line, with mentions in the form of the wording; unknown people keep their pseudonym."""
        if self._mention:
            numbers = self._numbers
            text = _PSEUDONYM.sub(
                lambda found: self._mention.format(numbers[found[0]]) if found[0] in numbers else found[0], text
            )
        return one_line(text)

    def filled_in(self, window: Sequence[tuple[str, str]], sender: str, text: str) -> list[str]:
        """Return the pieces of the prompt; the options go before the last piece."""
        before, between, after, end = self._pieces
        lines = [self._line(name, said) for name, said in window]
        # Joined, not formatted: "{options}" in a message must not be replaced.
        return [before, "\n".join(lines), between, self._line(sender, text), after, end]

    def _line(self, name: str, said: str) -> str:
        return self._speaker.format(self._numbers[name]) + self.said(said)


def _listed(texts: Mapping[str, str], *, is_lettered: bool) -> tuple[str, dict[str, str]]:
    """Return the list of options in a prompt, in the order of ``texts``, and their full texts, keyed by ``ANSWERS``."""
    letters = LETTERS if is_lettered else ("",) * len(texts)
    options = {key: letter + text for letter, (key, text) in zip(letters, texts.items(), strict=True)}
    return SEPARATOR.join(options.values()), {key: options[key] for key in ANSWERS}


def orders_of(prompt: Prompt, count: int) -> list[Prompt]:
    """Return a prompt with its options in several orders: its own first, then random ones, seeded with its text.

    Args:
        prompt: A prompt that ``render`` made.
        count: The number of orders, 1 to ``ORDERS``.

    Raises:
        DataError: If ``count`` is above 1 and the prompt does not end in its options.
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
    """Return a prompt's text before its options, the order of its options, and the text after them."""
    for wording, language in (prompt for prompt in PROMPTS if prompt[0] != REWRITE):
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
    if settings.turns is not None:
        window = window[max(0, len(window) - settings.turns) :]
    return render(window, str(row["sender"]), str(row["text"]), str(row["item_id"]), settings)


def render_rewrite(row: Mapping[str, Any], language: str) -> Prompt:
    """Return the prompt that asks for a rewrite of one row of ``questions`` or ``labelled``, with its whole window."""
    window, people = _people(row, language)
    return Prompt("".join(people.filled_in(window, str(row["sender"]), str(row["text"]))), {})


def rewritten(row: Mapping[str, Any], text: str, language: str) -> str:
    """Return a rewrite of one row in the form that models learn: in one line, with people as numbers."""
    return " ".join(_people(row, language)[1].said(text).replace(LINE_BREAK, " ").split())


def rewrite_read(row: Mapping[str, Any], written: str, language: str) -> str:
    """Return the rewrite in a model's output for a row: its first line.

    It is the unchanged question if that is blank, or if greedy decoding found no end and says the same again and again.
    """
    line = next((" ".join(line.split()) for line in written.splitlines() if line.strip()), "")
    question = rewritten(row, plain(str(row["text"])), language)
    is_endless = any(found[0] not in question for found in _THRICE.finditer(line))
    return question if is_endless or not line else line


def plain(text: str) -> str:
    """Return a question without the people that its lines begin by addressing: a standalone text addresses nobody."""
    return "\n".join(_ADDRESSED.sub("", line) or line for line in text.splitlines())


def _people(row: Mapping[str, Any], language: str) -> tuple[list[tuple[str, str]], People]:
    window = [(turn["sender"], turn["text"]) for turn in row["window"]]
    return window, People(REWRITE, language, window, str(row["sender"]), str(row["text"]))


def alpaca_row(row: Mapping[str, Any], settings: PromptSettings) -> dict[str, Any]:
    """Return one labelled question as a training row.

    Trainers of alpaca data read ``instruction`` (the whole prompt), ``input`` (empty) and ``output`` (the full text of
    the right option); ``item_id`` identifies the row, and ``options`` (the full text of every option, by its key) is
    for scoring.
    """
    prompt = render_row(row, settings)
    return {
        "item_id": row["item_id"],
        "instruction": prompt.instruction,
        "input": "",
        "output": prompt.options[row["label"]],
        "options": prompt.options,
    }


def rewrite_row(row: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return one labelled question as a training row for rewrites.

    Args:
        row: A row of ``LABELLED`` with a column ``rewrite``; if that is null, the output is the question, without the
            people that it addresses.
        language: One of ``LANGUAGES``.
    """
    output = rewritten(row, str(row["rewrite"] or plain(str(row["text"]))), language)
    instruction = render_rewrite(row, language).instruction
    return {"item_id": row["item_id"], "instruction": instruction, "input": "", "output": output, "options": {}}


def alpaca_splits(
    labelled: Iterable[Mapping[str, Any]], row_of: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the alpaca rows of each split, in the order of the labelled questions."""
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row in labelled:
        splits[row["split"]].append(row_of(row))
    return splits


def to_write_out(labelled: Sequence[Mapping[str, Any]], seed: int) -> list[Mapping[str, Any]]:
    """Return the questions from which models learn rewrites: those with a rewrite, and as many that stay unchanged.

    The latter are questions that need nothing, drawn for each split: a model that has never seen any changes them all.

    Args:
        labelled: Rows of ``LABELLED`` with a column ``rewrite``.
        seed: The seed of the draw.

    Returns:
        The chosen rows, in their order.
    """
    kept = {row["item_id"] for row in labelled if row["rewrite"]}
    for split in SPLITS:
        mine = [row for row in labelled if row["split"] == split]
        count = sum(row["item_id"] in kept for row in mine)
        others = [row["item_id"] for row in mine if row["label"] == NEGATIVE]
        kept |= {*Random(f"{seed}:{split}").sample(others, min(count, len(others)))}
    return [row for row in labelled if row["item_id"] in kept]


def read_alpaca(path: Path) -> list[dict[str, Any]]:
    """Read the rows that ``stages.to_alpaca`` wrote to a file.

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
        if row["options"] and row["output"] not in row["options"].values():
            raise DataError(f"{path}: row {number}: expected the output to be one of the row's options.")
    return rows


def one_line(text: str) -> str:
    """Return a text on one line, so that no message can pose as another history line or as the options."""
    return LINE_BREAK.join(text.splitlines())


def without_oldest(instruction: str) -> str | None:
    """Return a prompt without its oldest history line; None if it has no history, or ``render`` did not make it."""
    for wording, language in PROMPTS:
        before, between, _, _ = _pieces(wording, language)
        body = instruction.removeprefix(before)
        if body != instruction and not body.startswith(between):
            rest = body[body.index("\n") :]
            # The last history line leaves its line break: an empty history is an empty line.
            return before + (rest if rest.startswith(between) else rest[1:])
    return None


def fixed_texts() -> list[str]:
    """Return every fixed string of the prompts that embedded models know, each with the line break before it.

    A tokenizer may have a token for each. No message contains a line break, so none can forge these strings.
    """
    texts: list[str] = []
    for language in LANGUAGES:
        texts += [piece.rstrip("\n ") for piece in _pieces(EMBEDDED_WORDING, language)]
        # 12 turns of history and the question: at most 13 people.
        texts += ["\n" + SPEAKERS[language].format(number) for number in range(1, 14)]
    return texts


def option_texts() -> list[str]:
    """Return the texts that make up their answers: the options in every language, and the letters before them."""
    return [text for language in LANGUAGES for text in wording_of(EMBEDDED_WORDING, language).options.values()] + list(
        LETTERS
    )


@cache
def _pieces(wording: str, language: str) -> tuple[str, str, str, str]:
    """Return the fixed text before history, question and options, and after the options (empty without options)."""
    before, rest = wording_of(wording, language).text.split("{history}")
    between, rest = rest.split("{question}")
    after, _, end = rest.partition("{options}")
    return before, between, after, end
