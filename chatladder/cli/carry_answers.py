"""Carry answers and marks over to questions that have new ids.

Example:
    dvc get . data/questions.parquet --rev HEAD --out before.parquet
    dvc repro pick_questions
    chatladder carry-answers --before before.parquet

An id is a keyed hash of the text before masking, so answers stay with their questions whatever is masked. In earlier
versions it was a hash of the masked text; this command maps those ids to the new ones. A question is matched by group,
sender, time and text; if more of the text is masked now, by the most similar text. Running the command twice changes
nothing more.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyarrow.compute as pc

from chatladder.cli.annotate.round_records import SAMPLE_FILE
from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, example
from chatladder.io.files import whole_file
from chatladder.io.options import options_of, setting
from chatladder.io.rows import QUESTIONS, TURNS, Rows
from chatladder.labels.log import held
from chatladder.labels.review import FILE as REVIEW_FILE
from chatladder.labels.rounds import every_log, round_folders

#: An id in a log, a review or a file of marks; turns' ids begin with t.
_ID = re.compile(rb'"(t?[0-9a-f]{16})"')
#: The least share of characters that two maskings of one text have in common.
SIMILAR = 0.5
#: The most questions of one sender at one time to compare with each other, and the most characters of each.
MOST_COMPARED, COMPARED_CHARACTERS = 64, 2_000


class Said(NamedTuple):
    """The fields that identify a question or a turn."""

    id: str
    place: tuple[Any, ...]  # group, sender and time
    text: str


class Carried(NamedTuple):
    """The new id of each old one, and the number of them that were matched by a similar text."""

    ids: dict[str, str]
    similar: int


@dataclass(frozen=True)
class CarryOptions:
    """The options of carry-answers."""

    before: tuple[Path, ...] = setting(
        "Questions (or turns, for marks) with the old ids (parquet); repeatable.", type=InputFile
    )
    data: Path = setting("Folder of questions, turns, annotations and marks.", type=InputFolder, default=Path("data"))
    dry_run: bool = setting("Print the changes without making them.", default=False)


def match(before: Iterable[Said], now: Iterable[Said]) -> Carried:
    """Match each old question with a new one, each at most once.

    Args:
        before: The questions under their old ids.
        now: The same chat's questions under their new ids.
    """
    same: dict[tuple[Any, str], list[str]] = defaultdict(list)
    for question in now:
        same[question.place, question.text].append(question.id)
    ids: dict[str, str] = {}
    changed: list[Said] = []
    for question in before:
        # Equal questions are matched in their order.
        if equal := same[question.place, question.text]:
            ids[question.id] = equal.pop(0)
        else:
            changed.append(question)
    waiting: dict[Any, list[Said]] = defaultdict(list)
    for (place, text), left in same.items():
        waiting[place] += [Said(new, place, text) for new in left]
    found = len(ids)
    for question in changed:
        compared = {_similarity(question, each): each for each in reversed(waiting[question.place][:MOST_COMPARED])}
        if compared and max(compared) >= SIMILAR:
            best = compared[max(compared)]
            ids[question.id] = best.id
            waiting[question.place].remove(best)
    return Carried(ids, len(ids) - found)


def _similarity(before: Said, now: Said) -> float:
    first, second = before.text[:COMPARED_CHARACTERS], now.text[:COMPARED_CHARACTERS]
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def read_said(path: Path) -> tuple[str, Iterator[Said]]:
    """Read a table of questions or of turns; return ``questions`` or ``turns``, and the rows.

    Raises:
        DataError: If it is neither.
    """
    try:
        kind, name, rows = "questions", "item_id", Rows(path, QUESTIONS)
    except DataError:
        kind, name, rows = "turns", "turn_id", Rows(path, TURNS)
    columns = [name, "group", "sender", "timestamp", "text"]

    def said() -> Iterator[Said]:
        for part in rows.parts(columns):
            texts = pc.fill_null(part["text"], "").to_pylist()
            for id_, *place, text in zip(*(part[each].to_pylist() for each in columns[:-1]), texts, strict=True):
                yield Said(id_, tuple(place), text)

    return kind, said()


def carried(before: Path, data: Path) -> Mapping[str, str]:
    """Match the questions or turns of a table with the present ones, and print how many were found.

    Returns:
        The new id of each old one.

    Raises:
        DataError: If the present table is missing, or of another chat.
    """
    kind, earlier = read_said(before)
    now = data / f"{kind}.parquet"
    if not now.is_file():
        raise DataError(f"{now}: expected the {kind} under their new ids, got nothing. Run dvc repro pick_questions.")
    rows = list(earlier)
    ids, similar = match(rows, read_said(now)[1])
    if not ids:
        raise DataError(
            f"{before}: expected {kind} of the chat that {now} holds, got none of them. Other {kind}, or another "
            "privacy key?"
        )
    click.echo(
        f"{before}: {len(ids):,} of {len(rows):,} {kind} found again, {similar:,} of them by a similar text; "
        f"{len(rows) - len(ids):,} not"
    )
    return ids


def rewrite(path: Path, ids: Mapping[str, str]) -> int:
    """Replace old ids by new ones in one file, whole or not at all; return the number of replacements."""
    content = path.read_bytes()
    old = [match[1].decode() for match in _ID.finditer(content)]
    count: int = sum(ids.get(each, each) != each for each in old)
    if count:
        new = _ID.sub(lambda match: b'"%s"' % ids.get(match[1].decode(), match[1].decode()).encode(), content)
        with whole_file(path, answers=True) as temporary:
            temporary.write_bytes(new)
    return count


@click.command(
    "carry-answers",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@options_of(CarryOptions, "options")
def carry_answers_command(options: CarryOptions) -> None:
    """Carry answers and marks over to questions that have new ids.

    It changes only the ids in data/annotations/round_*/ and data/marks. Commit these folders first.
    """
    ids = {old: new for path in options.before for old, new in carried(path, options.data).items()}
    if options.dry_run:
        return
    annotations = options.data / "annotations"
    logs = every_log(annotations)
    folders = round_folders(annotations).values()
    lists = [path for folder in folders for name in (REVIEW_FILE, SAMPLE_FILE) if (path := folder / name).is_file()]
    with ExitStack() as stack:
        for log in logs:
            stack.enter_context(held(log))  # nobody answers meanwhile
        marks = sorted((options.data / "marks").glob("*.jsonl"))
        changed = sum(rewrite(path, ids) for path in (*logs, *lists, *marks))
    click.echo(f"{annotations}: {changed:,} ids replaced")


if __name__ == "__main__":
    carry_answers_command()
