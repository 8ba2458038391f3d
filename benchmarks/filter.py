r"""Precision and recall of the default judges on hand-marked turns of real chats.

Example:
    CHATLADDER_PRIVACY_KEY=any-key-will-do-here \
        python -m benchmarks.filter --raw IRC/ubuntu-zh --marks benchmarks/marks/ubuntu-zh.jsonl \
        --raw IRC/ubuntu-en --marks benchmarks/marks/ubuntu-en.jsonl

The marks hold the position of a turn's start (file and line), whether it is a question, and the number of turns it
represents: they were drawn in three strata, picked turns, turns that one of the two judges passed, and the rest. One
reader, a language model and not a person, marked each chat in random order, seeing up to four turns before each turn
and no scores. "unsure" marks turns that the reader could not decide.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
import pyarrow.compute as pc

from benchmarks.results import publish, save_option
from benchmarks.to_questions import to_questions
from chatladder.io.console import InputFile, InputFolder
from chatladder.io.files import read_jsonl
from chatladder.io.rows import MESSAGES, QUESTIONS, TURNS, read_rows
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.questions.marks import precision_and_recall


def picked_sources(raw: Path, out: Path) -> tuple[set[str], set[str]]:
    """Return the positions, file and line, of every turn's start and of every picked turn's start."""
    pseudonyms = Pseudonyms()
    files = {pseudonyms.file(path.name): path.name for path in raw.iterdir()}
    messages = read_rows(out / "messages.parquet", MESSAGES)
    places = (place.split(":") for place in messages["source"].to_pylist())
    found = [f"{files[file]}:{line}" for file, line in places]
    source = dict(zip(messages["message_id"].to_pylist(), found, strict=True))
    turns = read_rows(out / "turns.parquet", TURNS)
    picked = pc.is_in(
        turns["turn_id"], value_set=read_rows(out / "questions.parquet", QUESTIONS)["turn_id"].combine_chunks()
    )
    begins = [source[ids[0]] for ids in turns["message_ids"].to_pylist()]
    return set(begins), {begin for begin, is_picked in zip(begins, picked.to_pylist(), strict=True) if is_picked}


@click.command()
@click.option(
    "--raw", "raws", type=InputFolder, required=True, multiple=True, help="Folder of a chat's logs; repeat it."
)
@click.option(
    "--marks", "marked", type=InputFile, required=True, multiple=True, help="Marks of its turns, in that order."
)
@save_option
def main(raws: tuple[Path, ...], marked: tuple[Path, ...], save: Path | None) -> None:
    """Print precision and recall, with and without the turns that the reader was unsure of."""
    if len(raws) != len(marked):
        raise click.UsageError(f"expected --marks for each --raw, got {len(raws)} and {len(marked)}.")
    lines = ["| chat | marks | precision [95 %] | recall [95 %] |", "| --- | --- | --- | --- |"]
    notes = []
    for raw, marks in zip(raws, marked, strict=True):
        with tempfile.TemporaryDirectory() as name:
            to_questions(raw, Path(name))
            every, picked = picked_sources(raw, Path(name))
        rows = [row for _, row in read_jsonl(marks)]
        kept = [row for row in rows if row["source"] in every]
        notes.append(f"{marks.stem}: {len(kept)} of {len(rows)} marks found, {len(picked):,} of {len(every):,} picked")
        sure = [row for row in kept if not row.get("unsure")]
        for label, some in ((f"all {len(kept)}", kept), (f"the {len(sure)} the reader was sure of", sure)):
            scores = precision_and_recall(
                np.array([row["source"] in picked for row in some]),
                np.array([row["question"] for row in some]),
                np.array([float(row["weight"]) for row in some]),
            )
            cells = " | ".join(
                f"{scores[each]:.2f} [{scores[f'{each}_lo']:.2f}, {scores[f'{each}_hi']:.2f}]"
                for each in ("precision", "recall")
            )
            lines.append(f"| {marks.stem} | {label} | {cells} |")
    publish(save, __spec__.name, "\n".join([*lines, "", f"Turns: {'; '.join(notes)}."]))


if __name__ == "__main__":
    main()
