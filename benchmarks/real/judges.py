"""How often the judges of questions are right, by two readings of the questions that they picked.

Example:
    python -m benchmarks.real.judges
    python -m benchmarks.real.judges --chat ubuntu --turns data/turns.parquet --scores data/scores

With ``--turns`` and ``--scores``, which ``stages.merge`` and ``stages.score`` write from the log, the scores of the
annotated questions are first stored in ``CHAT/judges.csv``: the punctuation judge is fitted to the whole chat, which is
not in the repository. A question is matched by its sender, time and text.
"""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.real.chats import CHATS, Bools, Chat, in_brackets, publish, read_chat, share, table
from chatladder.evaluation.scores import Floats
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example
from chatladder.io.files import write_csv
from chatladder.io.rows import SCORES, TURNS, read_rows
from chatladder.labels.answer import Label

JUDGES = ("rules", "punctuation")
#: The lowest scores of rules and of punctuation; the first are those of params.yaml.
THRESHOLDS = ((5, 5), (6, 5), (8, 5), (10, 5), (5, 7), (5, 9), (5, 10), (8, 9), (10, 10))


class Judged(NamedTuple):
    """Questions with scores on which both readers agree whether they are questions.

    Attributes:
        scores: The scores by judge, shape ``(n, 2)``.
        is_question: True for a question, shape ``(n,)``.
        conversations: The conversation of each question.
    """

    scores: Floats
    is_question: Bools
    conversations: list[str]


def keep_scores(chat: Chat, turns: Path, scores: Path) -> int:
    """Write the judges' scores of the annotated questions, and return how many were matched."""
    rows = read_rows(turns, TURNS).select(["sender", "timestamp", "text", "turn_id"]).to_pylist()
    places = {(row["sender"], row["timestamp"], row["text"]): row["turn_id"] for row in rows}
    given = []
    for judge in JUDGES:
        judged = read_rows(scores / judge / "scores.parquet", SCORES)
        given.append(dict(zip(judged["turn_id"].to_pylist(), judged["score"].to_pylist(), strict=True)))
    found = {row["item_id"]: places.get((row["sender"], row["timestamp"], row["text"])) for row in chat.rows}
    kept = [(item, *(round(each[turn], 3) for each in given)) for item, turn in found.items() if turn is not None]
    write_csv(chat.folder / "judges.csv", ("item_id", *JUDGES), kept)
    return len(kept)


def read_scores(path: Path) -> dict[str, tuple[float, ...]]:
    """Return item -> the score by each judge."""
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["item_id"]: tuple(float(row[judge]) for judge in JUDGES) for row in csv.DictReader(lines)}


def whether_question(first: Label, second: Label) -> bool | None:
    """Return True if both readers call it a question, False if neither does; None if they differ or one is unsure."""
    if "unsure" in (first, second):
        return None
    said = {label != "not_a_question" for label in (first, second)}
    return said.pop() if len(said) == 1 else None


def judged_of(chat: Chat, scores: dict[str, tuple[float, ...]]) -> Judged:
    """Return the questions of a chat that can be counted."""
    said = [whether_question(*both) for both in zip(*chat.readings, strict=True)]
    chosen = [
        (scores[item_id], is_question, conversation)
        for item_id, is_question, conversation in zip(chat.item_ids, said, chat.conversations, strict=True)
        if is_question is not None and item_id in scores
    ]
    values, truth, conversations = zip(*chosen, strict=True)
    return Judged(np.array(values), np.array(truth), list(conversations))


def threshold_rows(judged: Judged) -> list[tuple[str, ...]]:
    """Return a row for each pair of thresholds: the questions kept, their precision and recall."""
    rows: list[tuple[str, ...]] = []
    everything = np.ones(len(judged.is_question), dtype=np.bool_)
    for name, least in (("all that were read", (0, 0)), *((f"{a}, {b}", (a, b)) for a, b in THRESHOLDS)):
        kept: Any = everything if not any(least) else (judged.scores >= least).all(axis=1)
        precision = share(judged.is_question, kept, judged.conversations)
        recall = share(kept, judged.is_question, judged.conversations)
        rows.append((name, f"{kept.sum():,}", in_brackets(precision), in_brackets(recall)))
    return rows


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--chat", "name", type=click.Choice(CHATS), help="Chat whose scores to keep.")
@click.option("--turns", type=InputFile, help="Its turns (parquet).")
@click.option("--scores", type=InputFolder, help="Folder of its judges' scores.")
def main(name: str | None, turns: Path | None, scores: Path | None) -> None:
    """Write the judges' precision, and what higher thresholds would lose."""
    if name and turns and scores:
        chat = read_chat(name)
        click.echo(f"{name}: {keep_scores(chat, turns, scores):,} of {len(chat.rows):,} found again")
    parts = [
        "Precision is the share of questions among what is kept, by both readers. Recall is relative: of the "
        "questions *that were read*, the share that higher thresholds keep. What the judges never picked nobody"
        " read, so what they miss of all questions of the chat, and what one judge would pick without the "
        "other, cannot be measured here (benchmarks/results/filter.md measures it on another sample). Brackets "
        "are 95 % intervals over conversations. The readers are a language model, read twice."
    ]
    for chat in map(read_chat, CHATS):
        judged = judged_of(chat, read_scores(chat.folder / "judges.csv"))
        rows = threshold_rows(judged)
        left_out = len(chat.rows) - len(judged.is_question)
        parts += [
            f"## {chat.name}",
            f"{len(judged.is_question):,} questions; {left_out} are left out, because the readers differ on "
            "whether they are questions, one is unsure, or the turn is not in the log as it is read today. They"
            " were picked by an earlier state of the judges, so a few are below today's thresholds.",
            table(("rules, punctuation, at least", "kept", "precision", "recall"), rows),
        ]
    publish("judges", "Judges of questions on real chats", parts)


if __name__ == "__main__":
    main()
