"""Write answers that the archive itself gives, as an annotator named silver: was a message replied to?

Example:
    chatladder silver --round 1 --within 300

This is for tasks whose task.toml says ``silver = "replies"``. A picked message that is addressed to nobody gets the
positive label if somebody else replied to it within --within seconds: by a reply that the export records, or by
addressing its sender while it was the sender's latest turn. It gets the negative label if nobody replied to its sender
in that time. It gets no label if the archive is ambiguous:

- the reply goes to its sender, who had said something else since;
- somebody else speaks next, within that time and to nobody: that may be the reply.

A conversation is left out whole if one of its messages is less than that time before the end of its group's archive.
People can annotate in the same round (``chatladder annotate``), and are compared with these answers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFolder, example
from chatladder.io.options import options_of, setting
from chatladder.io.rows import QUESTIONS, TURNS, read_rows
from chatladder.judges.texts import is_text, whom
from chatladder.labels.answer import Answer, Label, now
from chatladder.labels.log import create
from chatladder.labels.rounds import log_path
from chatladder.vocabulary import KINDS, NEGATIVE, POSITIVE, SCORED, TASK

#: The annotator's name in the answers.
ANNOTATOR = "silver"
#: Reasons why a message has no label.
SPOKE_SINCE, SPOKEN_NEXT, AT_THE_END, NO_TIME = "sender spoke since", "spoken next", "at the end", "without a time"


@dataclass(frozen=True)
class SilverOptions:
    """The options of silver."""

    round: int = setting("Round of the answers.", least=1)
    within: int = setting("Seconds within which a reply counts.", least=1)
    turns: Path = setting("Turns (parquet).", type=InputFile, default=Path("data/turns.parquet"))
    questions: Path = setting("Picked messages (parquet).", type=InputFile, default=Path("data/questions.parquet"))
    annotations: Path = setting("Folder of the rounds.", type=OutputFolder, default=Path("data/annotations"))


class _Turn(NamedTuple):
    """One turn of text, with the fields that show who replies to whom."""

    turn_id: str
    group: str
    sender: str
    timestamp: int
    text: str
    reply_to: str | None
    message_ids: list[str]


def mine(turns: pa.Table, questions: pa.Table, within: int) -> dict[str, str]:
    """Return the label of each picked message, or why it has none, by item.

    Args:
        turns: Rows of ``TURNS``, by group and then by time; only text counts as a reply.
        questions: Rows of ``QUESTIONS``.
        within: Seconds in which a reply counts.
    """
    timed = turns.filter(pc.and_(is_text(turns), turns["timestamp"].is_valid())).select(_Turn._fields)
    said = [_Turn(**row) for row in timed.to_pylist()]
    places = {turn.turn_id: place for place, turn in enumerate(said)}
    writers = {message: turn.sender for turn in said for message in turn.message_ids}
    ends = {turn.group: turn.timestamp for turn in said}
    rows = questions.select(["item_id", "turn_id", "group", "conversation", "timestamp"]).to_pylist()
    late = {
        row["conversation"]
        for row in rows
        if row["turn_id"] in places and row["timestamp"] + within > ends[row["group"]]
    }

    def outcome(row: Mapping[str, str]) -> str:
        if row["conversation"] in late:
            return AT_THE_END
        place = places.get(row["turn_id"])
        return NO_TIME if place is None else outcome_of(said, place, within, writers)

    return {row["item_id"]: outcome(row) for row in rows}


def outcome_of(said: Sequence[_Turn], place: int, within: int, writers: Mapping[str, str]) -> str:
    """Return the label of one turn, or why it has none.

    Args:
        said: Turns of text, by group and then by time.
        place: The turn's index among them.
        within: Seconds in which a reply counts.
        writers: The sender of each message, by its id.
    """
    asked = said[place]
    spoke_since = False
    spoken_next: bool | None = None
    for later in range(place + 1, len(said)):
        turn = said[later]
        if turn.group != asked.group or turn.timestamp > asked.timestamp + within:
            break
        if turn.sender == asked.sender:
            spoke_since = True
            continue
        if turn.reply_to in asked.message_ids:
            return POSITIVE
        names = whom(turn.text)
        answered = {*names, writers.get(turn.reply_to or "")}
        if asked.sender in answered:
            return SPOKE_SINCE if spoke_since else POSITIVE
        if spoken_next is None:
            spoken_next = not names and turn.reply_to is None
    return SPOKEN_NEXT if spoken_next else NEGATIVE


@click.command(name="silver", context_settings=SETTINGS, epilog=example(__doc__))
@options_of(SilverOptions, "options")
def silver_command(options: SilverOptions) -> None:
    """Label each picked message by the archive: did anybody reply to it?"""
    if not TASK.silver:
        raise DataError(f"{TASK.folder / 'task.toml'}: silver: expected replies, got nothing: no archive answers this.")
    found = mine(read_rows(options.turns, TURNS), read_rows(options.questions, QUESTIONS), options.within)
    labels = {item_id: Label(name) for item_id, name in found.items() if name in SCORED}
    if not labels:
        raise DataError(f"{options.questions}: expected messages that the archive labels, got none.")
    path, at = log_path(options.annotations, options.round, ANNOTATOR), now()
    path.parent.mkdir(parents=True, exist_ok=True)
    create(path, (Answer(item_id, ANNOTATOR, options.round, label, at) for item_id, label in labels.items()))
    counts = Counter(found.values())
    given = ", ".join(f"{counts[name]:,} {KINDS[name].words}" for name in SCORED)
    left = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()) if reason not in SCORED)
    click.echo(f"{path}: {len(labels):,} answers ({given}); left out: {left or 'nothing'}")


if __name__ == "__main__":
    silver_command()
