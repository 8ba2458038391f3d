"""Carry answers and marks over to questions that have new ids.

Example:
    dvc get . data/questions.parquet --rev HEAD --out before.parquet
    dvc repro pick_questions
    chatladder carry-answers --before before.parquet

An id is a keyed hash of what was said before masking, so answers stay with their questions whatever is masked. In
earlier versions it was a hash of the masked text; this command leads from those ids to the new ones. A question is
found again by group, sender, time and text; where more of the text is masked now, by the most similar text. Running
the command twice changes nothing more.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyarrow.compute as pc

from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, example
from chatladder.io.files import whole_file
from chatladder.io.rows import QUESTIONS, TURNS, Rows
from chatladder.labels.log import LogWriter
from chatladder.labels.rounds import every_log, round_folders

#: An id in a log, a review or a file of marks; turns' ids begin with t.
_ID = re.compile(rb'"(t?[0-9a-f]{16})"')
#: The least share of characters that two maskings of one text have in common.
SIMILAR = 0.5
#: Questions of one sender at one time that are compared with each other, and characters of each.
MOST_COMPARED, COMPARED_CHARACTERS = 64, 2_000


class Said(NamedTuple):
    """A question or a turn, as far as it identifies itself."""

    id: str
    place: tuple[Any, ...]  # group, sender and time
    text: str


class Carried(NamedTuple):
    """The new id of each old one, and how many of them were found by a similar text."""

    ids: dict[str, str]
    similar: int


def match(before: Iterable[Said], now: Iterable[Said]) -> Carried:
    """Find each question again, at most once.

    Args:
        before: The questions under their old ids.
        now: The same chat's questions under their new ids.
    """
    same: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for question in now:
        same[question.place, question.text].append(question.id)
    ids: dict[str, str] = {}
    changed: list[Said] = []
    for question in before:
        # Of equal ones, the first before is the first now.
        if equal := same[question.place, question.text]:
            ids[question.id] = equal.pop(0)
        else:
            changed.append(question)
    waiting: dict[tuple[Any, ...], list[Said]] = defaultdict(list)
    for (place, text), left in same.items():
        waiting[place] += [Said(own, place, text) for own in left]
    similar = 0
    for question in changed:
        candidates = waiting[question.place][:MOST_COMPARED]
        ratios = [_similarity(question.text, each.text) for each in candidates]
        if ratios and max(ratios) >= SIMILAR:
            best = candidates[ratios.index(max(ratios))]
            ids[question.id] = best.id
            waiting[question.place].remove(best)
            similar += 1
    return Carried(ids, similar)


def _similarity(before: str, now: str) -> float:
    return SequenceMatcher(None, before[:COMPARED_CHARACTERS], now[:COMPARED_CHARACTERS], autojunk=False).ratio()


def read_said(path: Path) -> tuple[str, Iterator[Said]]:
    """Read a table of questions or of turns; gives ``questions`` or ``turns``, and the rows.

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
            texts = pc.fill_null(part["text"], "")
            for own, *place, text in zip(
                *(part[each].to_pylist() for each in columns[:-1]), texts.to_pylist(), strict=True
            ):
                yield Said(own, tuple(place), text)

    return kind, said()


def rewrite(path: Path, ids: dict[str, str]) -> int:
    """Put new ids in the place of old ones in one file, whole or not at all; gives how many it replaced."""
    count = 0

    def new_id(found: re.Match[bytes]) -> bytes:
        nonlocal count
        new = ids.get(found[1].decode())
        count += new is not None
        return b'"%s"' % new.encode() if new else found[0]

    content = _ID.sub(new_id, path.read_bytes())
    if count:
        with whole_file(path, answers=True) as temporary:
            temporary.write_bytes(content)
    return count


@click.command(
    name="carry-answers",
    short_help="Bring answers to questions with new ids.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.option(
    "--before",
    type=InputFile,
    multiple=True,
    required=True,
    help="Questions (or turns, for marks) under the old ids (parquet); repeat it.",
)
@click.option(
    "--data",
    type=InputFolder,
    default="data",
    show_default=True,
    help="Folder of questions, turns, annotations, marks.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be carried, and change nothing.")
def carry_answers_command(before: tuple[Path, ...], data: Path, dry_run: bool) -> None:
    """Carry answers and marks over from questions of before to those that are there now.

    It rewrites ids in data/annotations/round_*/ and data/marks, and nothing else in them. Commit them first.
    """
    ids: dict[str, str] = {}
    for path in before:
        kind, earlier = read_said(path)
        now = data / f"{kind}.parquet"
        if not now.is_file():
            raise DataError(
                f"{now}: expected the {kind} under their new ids, got nothing. Run dvc repro pick_questions."
            )
        rows = list(earlier)
        carried = match(rows, read_said(now)[1])
        if not carried.ids:
            raise DataError(
                f"{path}: expected {kind} of the chat that {now} holds, got none of them. Other {kind}, or another "
                "privacy key?"
            )
        ids |= {old: new for old, new in carried.ids.items() if old != new}
        lost = len(rows) - len(carried.ids)
        click.echo(
            f"{path}: {len(carried.ids):,} of {len(rows):,} {kind} found again, {carried.similar:,} of them by a "
            f"similar text; {lost:,} not"
        )
    if dry_run:
        return
    annotations = data / "annotations"
    folders = round_folders(annotations).values() if annotations.is_dir() else ()
    logs = every_log(annotations)
    reviews = [path for folder in folders if (path := folder / "review.json").is_file()]
    with ExitStack() as stack:
        for log in logs:
            stack.enter_context(LogWriter(log))  # nobody answers meanwhile
        changed = sum(rewrite(path, ids) for path in (*logs, *reviews, *sorted((data / "marks").glob("*.jsonl"))))
    click.echo(f"{annotations}: {changed:,} ids replaced")


if __name__ == "__main__":
    carry_answers_command()
