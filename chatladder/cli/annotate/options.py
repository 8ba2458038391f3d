"""The options of annotate, adjudicate and review, and the parsers of their texts: names, time zones, keys."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import click

from chatladder.io.console import DataError, InputFile, InputFolder, OutputFile, OutputFolder
from chatladder.io.options import setting
from chatladder.io.params import PARAMS, read_section
from chatladder.vocabulary import KINDS, LABELS


class Key(NamedTuple):
    """An action that keys trigger.

    Attributes:
        keys: Names of the keys.
        words: The action's name on the screen.
        action: The app's action.
    """

    keys: tuple[str, ...]
    words: str
    action: str


#: Actions by the names that --keys takes; labels first.
KEYS = {
    **{name: Key((KINDS[name].key,), KINDS[name].words, f"answer('{name}')") for name in LABELS},
    "rewrite": Key(("w",), "write out", "write_out"),
    "undo": Key(("z", "backspace"), "undo", "undo"),
    "skip": Key(("s",), "skip", "skip"),
    "previous": Key(("b", "left"), "back", "step(-1)"),
    "next": Key(("f", "right"), "forward", "step(1)"),
    "jump": Key(("g",), "go to", "jump"),
    "search": Key(("slash",), "search", "search"),
    "again": Key(("n",), "next hit", "again"),
    "expand": Key(("e",), "all text", "expand"),
    "definition": Key(("question_mark", "d"), "definition", "definition"),
    "quit": Key(("q",), "quit", "quit"),
}
#: Signs whose keys have another name.
SIGNS = {
    "/": "slash", "?": "question_mark", ".": "full_stop", ";": "semicolon", "'": "apostrophe", "-": "minus",
    "[": "left_square_bracket", "]": "right_square_bracket", "\\": "backslash", "`": "grave_accent", " ": "space",
}  # fmt: skip
_KEY = re.compile(r"[a-z0-9]|f[1-9][0-9]?")


def parse_keys(text: str) -> dict[str, tuple[str, ...]]:
    """Read ``action=key,action=key``; an action named twice has two keys, one not named keeps its default.

    Raises:
        ValueError: If an action or a key is unknown, or one key has two actions.
    """
    changed: dict[str, list[str]] = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        action, _, key = (part.strip() for part in pair.partition("="))
        if action not in KEYS:
            raise ValueError(f"{action!a}: expected one of {', '.join(KEYS)}.")
        if key not in SIGNS and not _KEY.fullmatch(key.lower()):
            raise ValueError(f"{key!a}: expected a letter, a digit, a sign, or f1 to f99.")
        changed.setdefault(action, []).append(SIGNS.get(key, key.lower()))
    keys = {action: tuple(changed.get(action, key.keys)) for action, key in KEYS.items()}
    owners: dict[str, str] = {}
    for action, taken in keys.items():
        for name in taken:
            if owners.setdefault(name, action) != action:
                raise ValueError(f"{name}: expected one action for a key, got {owners[name]} and {action}.")
    return keys


def shown(key: str) -> str:
    """Return a key as it is written on a keyboard."""
    arrows = {"left": "←", "right": "→", "backspace": "⌫", "space": "space"}
    return arrows.get(key) or {name: sign for sign, name in SIGNS.items()}.get(key, key)


def names(text: str | None) -> list[str]:
    """Read the names in a list such as ``li,wu,chen``.

    Raises:
        ValueError: If one is empty or occurs twice.
    """
    listed = [name.strip() for name in text.split(",")] if text else []
    if len(set(listed)) < len(listed) or "" in listed:
        raise ValueError(f"expected different names, separated by commas, got {text!a}.")
    return listed


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises:
        ValueError: If it is unknown.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"expected a time zone such as Asia/Shanghai, got {name!a}.") from error


def project_zone() -> str:
    """Return the time zone of the exports from this folder's params.yaml; UTC if it names none."""
    try:
        return str(read_section(PARAMS, "ingest")["timezone"])
    except (DataError, KeyError):
        return "UTC"


class Checked(click.ParamType[str]):
    """Text that is validated and stays as it was typed."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text.

        Raises:
            click.BadParameter: If it cannot be read.
        """
        try:
            self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


@dataclass(frozen=True, kw_only=True)
class ScreenOptions:
    """Options for the person, the paths of questions and answers, the content of the screen, and its address."""

    person: str = setting("Your name; also the name of your log.", names=("--annotator",))
    round: int | None = setting("Round to annotate; the latest by default.", least=1, default=None)
    questions: Path = setting("Questions to show (parquet).", type=InputFile, default=Path("data/questions.parquet"))
    annotations: Path = setting("Folder of the rounds.", type=OutputFolder, default=Path("data/annotations"))
    guidelines: Path | None = setting("Guidelines that replace the default ones.", type=InputFile, default=None)
    allow_changed_guidelines: bool = setting("Continue a round whose guidelines changed.", default=False)
    keys: str = setting("Custom keys: needed=a,undo=x.", type=Checked(parse_keys), default="")
    timezone: str = setting(
        "Time zone of the display; ingest.timezone by default, else UTC.", type=Checked(zone), default=project_zone
    )
    web: bool = setting("Annotate in a browser instead of this terminal.", default=False)
    host: str = setting("Address that --web listens on.", default="127.0.0.1")
    port: int = setting("Port of --web; 0 for any free port.", least=0, most=65535, default=8765)
    expose: bool = setting("Allow a --host that other machines can reach.", default=False)


@dataclass(frozen=True, kw_only=True)
class SharedOptions(ScreenOptions):
    """Further options for the assignment of items."""

    annotators: str | None = setting(
        "Annotators who share the round, as li,wu; given once.", type=Checked(names), default=None
    )
    overlap: int | None = setting("Number of annotators for each question; all by default.", least=1, default=None)

    def __post_init__(self) -> None:
        """Refuse an annotator, annotators and an overlap that do not fit together.

        Raises:
            click.UsageError: If they do not.
        """
        sharing = names(self.annotators)
        if self.overlap and not sharing:
            raise click.UsageError("--overlap: expected --annotators, too. Name the people who share the round.")
        if self.overlap and self.overlap > len(sharing):
            raise click.UsageError(f"--overlap: expected at most {len(sharing)}, as many as --annotators names.")
        if sharing and self.person and self.person not in sharing:
            raise click.UsageError(f"--annotators: expected {self.person!a} among them, the --annotator.")


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(SharedOptions):
    """The options of annotate.

    Without a person it serves everybody who shares the round.
    """

    person: str = setting(
        "Your name; also the name of your log. With --web, everybody who shares the round by default.",
        names=("--annotator",),
        default="",
    )
    new_round: bool = setting("Begin the next round for everybody.", default=False)
    sample: int | None = setting(
        "Number of questions in the round, the same for everybody; given once.", least=1, default=None
    )
    items: Path | None = setting(
        "Only these items, in this order (JSON lines with item_id).", type=InputFile, default=None
    )

    def __post_init__(self) -> None:
        """Refuse options that do not fit together.

        Raises:
            click.UsageError: If they do not.
        """
        super().__post_init__()
        if not self.person and not self.web:
            raise click.UsageError("--annotator: expected your name. Only --web serves everybody who shares a round.")
        if self.sample and self.items:
            raise click.UsageError("--sample and --items: expected one of them, got both.")


@dataclass(frozen=True, kw_only=True)
class ReviewOptions(SharedOptions):
    """The options of review. A review that was begun needs neither queue nor labels."""

    round: int | None = setting(
        "Round of the review; the current or else the next one by default.", least=1, default=None
    )
    queue: Path = setting("Items to review (JSON lines).", type=OutputFile, default=Path("data/review/queue.jsonl"))
    labelled: Path = setting("All labels (parquet).", type=OutputFile, default=Path("data/labelled.parquet"))


@dataclass(frozen=True, kw_only=True)
class AdjudicateOptions(ScreenOptions):
    """The options of adjudicate."""

    person: str = setting("Your name; also the name of your logs.", names=("--adjudicator",))
    round: int | None = setting("Number of rounds that count; all by default.", least=1, default=None)
    annotations: Path = setting("Folder of the rounds.", type=InputFolder, default=Path("data/annotations"))
    all: bool = setting("Include questions decided by a majority or by other adjudicators.", default=False)
