"""The task: the question about each item of the chat, and the labels with their order and words.

A task is a folder: task.toml, parsed in this module; prompts/, parsed in chatladder/models/prompts.py; guidelines.md,
which the annotators see. All other modules import the labels from this one. ``chatladder/io/task_folder.py`` finds the
folder, once for each process.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chatladder.io.console import DataError
from chatladder.io.task_folder import task_folder

if TYPE_CHECKING:
    import pyarrow as pa

#: The answer "do not know" of every task: prompts offer it, annotators cannot give it.
UNKNOWN = "unknown"
#: The label that leaves an item undecided, if the task has it.
UNSURE = "unsure"
#: The kinds of items that a task may be about, and their singular in English and Chinese.
ITEMS = {"questions": ("question", "问题"), "messages": ("message", "消息")}
#: Sources of silver labels in an archive: whether somebody replied (chatladder/cli/silver.py).
SILVER = ("replies",)
#: The number of labels that may be scored. More would leave few items for each, and have 5,040 orders of options.
FEWEST, MOST = 2, 5
_PROMPT = re.compile(r"(?!rewrite\.)\w+\.(zh|en)\.toml")
_NAME, _COLOUR = re.compile(r"[a-z][a-z0-9_]*"), re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class Kind:
    """A label, or the answer "do not know" that prompts also offer.

    Attributes:
        name: The name in logs, rows and predictions.
        words: The name in a sentence.
        screen: The name on the annotator's screen.
        key: The key that an annotator presses to give it; "" if annotators cannot.
        colour: The background of the name on the screen.
        is_answer: True if prompts offer it.
    """

    name: str
    words: str
    screen: str = ""
    key: str = ""
    colour: str = ""
    is_answer: bool = False


@dataclass(frozen=True)
class Task:
    """A question about each item, with its labels.

    Attributes:
        folder: The folder that defines the task; its name is the task's.
        item: The singular for an item, in English and Chinese.
        ask: The question as annotators read it, by language.
        kinds: The labels by name, in the order of every table, and "unknown" last.
        scored: The two to five labels that are trained on and scored; of two, the positive one is the first.
        is_written_out: True if items of the first label are rewritten so that they stand alone.
        silver: The source of labels in the archive, one of ``SILVER``; "" if there is none.
    """

    folder: Path
    item: tuple[str, str]
    ask: dict[str, str]
    kinds: dict[str, Kind]
    scored: tuple[str, ...]
    is_written_out: bool
    silver: str

    @property
    def name(self) -> str:
        """The name of the task in params.yaml."""
        return self.folder.name


def read_task(folder: Path) -> Task:
    """Return the task that a folder defines.

    Raises:
        DataError: If its task.toml is missing or malformed, or it has no prompts.
    """
    fields = Fields(folder / "task.toml")
    fields.only("items", "ask", "positive", "negative", "scored", "written_out", "silver", "labels")
    item = ITEMS[fields.text("items", tuple(ITEMS).__contains__, " or ".join(ITEMS))]
    asked = fields.table("ask")
    ask = {language: asked.text(language) for language in asked.values}
    labels = fields.table("labels")
    names = tuple(labels.values)
    for name in names:
        if not _NAME.fullmatch(name) or name == UNKNOWN:
            labels.refuse(name, f"a name of small letters, digits and _, other than {UNKNOWN}", name)
    scored = _scored(fields, names)
    kinds = {name: _kind(labels.table(name), name, name in scored) for name in names}
    keys: dict[str, str] = {}
    for name, kind in kinds.items():
        if (other := keys.setdefault(kind.key, name)) != name:
            labels.refuse(f"{name}.key", f"another key than that of {other}", kind.key)
    kinds[UNKNOWN] = Kind(UNKNOWN, UNKNOWN, is_answer=True)
    if not any(_PROMPT.fullmatch(path.name) for path in folder.glob("prompts/*")):
        raise DataError(f"{folder / 'prompts'}: expected question.en.toml, question.zh.toml or such, got none.")
    is_written_out = fields.flag("written_out")
    silver = fields.text("silver", SILVER.__contains__, " or ".join(SILVER)) if "silver" in fields.values else ""
    if len(scored) > 2 and is_written_out:
        fields.refuse("written_out", "false where more than two labels are scored", is_written_out)
    if len(scored) > 2 and silver:
        fields.refuse("silver", "nothing where more than two labels are scored", silver)
    return Task(folder, item, ask, kinds, scored, is_written_out, silver)


def _scored(fields: "Fields", names: Sequence[str]) -> tuple[str, ...]:
    """Return the scored labels: the positive and the negative one, or those of the list ``scored``."""
    if "scored" not in fields.values:
        expected = f"one of {', '.join(names)}"
        positive, negative = (fields.text(each, names.__contains__, expected) for each in ("positive", "negative"))
        if positive == negative:
            fields.refuse("negative", "another label than positive", negative)
        return positive, negative
    for each in ("positive", "negative"):
        if each in fields.values:
            fields.refuse(each, "nothing beside scored", fields.values[each])
    scored = fields.values["scored"]
    if not isinstance(scored, list) or not all(each in names for each in scored) or not _few(scored):
        fields.refuse("scored", f"a list of {FEWEST} to {MOST} labels of {', '.join(names)}, each once", scored)
    return tuple(scored)


def _few(scored: Sequence[str]) -> bool:
    return FEWEST <= len(scored) == len({*scored}) <= MOST


def _kind(fields: "Fields", name: str, is_answer: bool) -> Kind:
    fields.only("words", "screen", "key", "colour")
    return Kind(
        name,
        fields.text("words"),
        fields.text("screen"),
        fields.text("key", lambda text: len(text) == 1 and text.isprintable() and text != " ", "one character"),
        fields.text("colour", _COLOUR.fullmatch, "a colour such as #2f6fb5"),
        is_answer,
    )


class Fields:
    """A table of a TOML file, whose errors name the file and the field."""

    def __init__(self, path: Path, values: Mapping[str, Any] | None = None, above: str = "") -> None:
        """Take a table, or read a whole file.

        Raises:
            DataError: If the file is missing, or not TOML.
        """
        self._path, self._above = path, above
        self.values = _read_toml(path) if values is None else values

    def only(self, *known: str) -> None:
        """Refuse fields other than these."""
        for name in self.values:
            if name not in known:
                self.refuse(name, f"one of the fields {', '.join(known)}", name)

    def text(self, name: str, holds: Callable[[str], Any] = bool, expected: str = "a text") -> str:
        """Return a field that must be a text.

        Args:
            name: The name of the field.
            holds: Returns a true value if the text is valid.
            expected: A description of valid texts, for the error.

        Raises:
            DataError: If it is not a text, is empty, or is not valid.
        """
        value = self.values.get(name)
        if not isinstance(value, str) or not value.strip() or not holds(value):
            self.refuse(name, expected, value)
        return value

    def flag(self, name: str) -> bool:
        """Return a field that must be true or false."""
        value = self.values.get(name)
        if not isinstance(value, bool):
            self.refuse(name, "true or false", value)
        return value

    def table(self, name: str) -> "Fields":
        """Return a field that must be a table, and not empty."""
        value = self.values.get(name)
        if not isinstance(value, dict) or not value:
            self.refuse(name, "a table", value)
        return Fields(self._path, value, f"{self._above}{name}.")

    def refuse(self, name: str, expected: str, value: Any) -> NoReturn:
        """Raise the error for an invalid field.

        Raises:
            DataError: Always.
        """
        got = "nothing" if value is None else ascii(value)[:60]
        raise DataError(f"{self._path}: {self._above}{name}: expected {expected}, got {got}.")


def _read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a task's TOML file.

    Raises:
        DataError: If it is missing, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: expected a file of a task: {error.strerror or error}.") from error
    except ValueError as error:  # also if it is not UTF-8
        raise DataError(f"{path}: expected TOML in UTF-8: {error}.") from error


def _task_of_this_process() -> Task:
    """Return the task; without one, exit with a one-line error, since no command runs yet that could report it."""
    try:
        return read_task(task_folder())
    except DataError as error:
        sys.exit(f"Error: {error.message}")


TASK = _task_of_this_process()
KINDS = TASK.kinds
#: The labels that are trained on and scored.
SCORED = TASK.scored
#: True if there are two: a threshold then decides between them, and precision, recall and F1 are those of the first.
IS_BINARY = len(SCORED) == 2
#: The positive and the negative label. With more than two labels, these are merely the first two.
POSITIVE, NEGATIVE = SCORED[:2]
#: The labels that an annotator may give, in the order of every table.
LABELS = tuple(kind.name for kind in KINDS.values() if kind.key)
#: The answers that a model may give, in the order of every array of probabilities.
ANSWERS = (*SCORED, UNKNOWN)
#: The columns of their probabilities in predictions; the same for all tasks of two labels.
CHANCES = ("p_needed", "p_not_needed", "p_unknown") if IS_BINARY else tuple(f"p_{name}" for name in ANSWERS)


@cache
def prediction_schema() -> "pa.Schema":
    """Return the schema of predictions: ``PREDICTIONS`` of chatladder/io/rows.py with the columns ``CHANCES``."""
    # Only here: pyarrow is slow to load, and commands that read no rows need the labels.
    import pyarrow as pa

    from chatladder.io.rows import PREDICTIONS

    first, last = list(PREDICTIONS)[:2], list(PREDICTIONS)[-2:]
    return pa.schema([*first, *((name, pa.float64()) for name in CHANCES), *last])


def likeliest(shares: Sequence[float]) -> str:
    """Return the most probable answer; "unknown" on a tie."""
    largest = max(shares)
    names = [name for name, share in zip(ANSWERS, shares, strict=True) if share == largest]
    return names[0] if len(names) == 1 else UNKNOWN


def need_two_labels(what: str) -> None:
    """Refuse a task of more than two scored labels.

    Args:
        what: The name of the command, for the error.

    Raises:
        DataError: If the task has more than two.
    """
    if not IS_BINARY:
        raise DataError(f"{what}: expected a task of two scored labels, got {TASK.name}, which has {len(SCORED)}.")
