"""Turn questions that were read twice into questions and annotation logs of a chatladder project.

Example:
    python -m benchmarks.real.readings --annotated annotated --window 6 --raw-lines 35000 --out data/imported

The two readers become two annotators of one round. ``annotations`` holds both, ``first_reader`` only the first: tuned
models that judge the readers' differences must not be trained on the second. The rewrites, which are one reading, are
stored with the first reader's answers.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from chatladder.io.console import SETTINGS, DataError, InputFolder, OutputFile, OutputFolder, example
from chatladder.io.files import read_jsonl, whole_folder, write_json
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import create
from chatladder.labels.rewrites import one_line
from chatladder.labels.rounds import log_path
from chatladder.vocabulary import POSITIVE

READERS = ("reader_a", "reader_b")
#: The time of all readings; constant, so that the same readings give the same bytes.
AT = "2026-11-01T00:00:00Z"


def read_questions(path: Path, window: int, group: str) -> pa.Table:
    """Return rows of ``QUESTIONS``, each with the last turns before it.

    Args:
        path: Questions as JSON lines.
        window: The number of earlier turns to keep.
        group: The name of the chat.
    """
    rows = [
        {
            **row,
            "turn_id": row["item_id"],
            "group": group,
            "window": row["window"][max(0, len(row["window"]) - window) :],
        }
        for _, row in read_jsonl(path)
    ]
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def read_labels(path: Path) -> dict[str, Label]:
    """Return the label that one reader gave each item.

    Raises:
        DataError: If a label is invalid.
    """
    labels: dict[str, Label] = {}
    for number, row in read_jsonl(path):
        try:
            labels[row["item_id"]] = Label(row["label"])
        except (KeyError, ValueError) as error:
            raise DataError(
                f'{path}:{number}: expected "item_id" and as "label" one of {", ".join(Label)}, got {row!a}.'
            ) from error
    return labels


def read_rewrites(path: Path) -> dict[str, str]:
    """Return the items' rewrites, each on one line; none if the file does not exist.

    Raises:
        DataError: If a line is invalid.
    """
    rewrites: dict[str, str] = {}
    for number, row in read_jsonl(path) if path.exists() else ():
        if not isinstance(row.get("item_id"), str) or not isinstance(row.get("rewrite"), str):
            raise DataError(f'{path}:{number}: expected "item_id" and "rewrite" to be texts, got {row!a}.')
        rewrites[row["item_id"]] = one_line(row["rewrite"])
    return rewrites


def answers_of(labels: dict[str, Label], reader: str, rewrites: dict[str, str]) -> Iterator[Answer]:
    """Yield the lines of one reader's log."""
    for item_id, label in labels.items():
        rewrite = rewrites.get(item_id) if label == POSITIVE else None
        yield Answer(item_id, reader, 1, label, AT, rewrite=rewrite or None)


def check_read(item_ids: Iterable[str], labels: dict[str, Label], path: Path) -> None:
    """Refuse readings unless there is one for each of these items.

    Raises:
        DataError: If one is missing, or belongs to another item.
    """
    if odd := sorted(set(item_ids) ^ set(labels)):
        raise DataError(f"{path}: expected one reading of every question, got {len(odd)} amiss, first {odd[0]!a}.")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--annotated", type=InputFolder, required=True, help="Folder of questions.jsonl and the two readers'.")
@click.option("--window", type=click.IntRange(0), required=True, help="Earlier turns that a question keeps.")
@click.option("--raw-lines", type=click.IntRange(1), required=True, help="Lines of the log that they were picked from.")
@click.option("--out", type=OutputFolder, required=True, help="Folder to write.")
@click.option("--metrics", type=OutputFile, help="Counts to write (JSON).")
def main(annotated: Path, window: int, raw_lines: int, out: Path, metrics: Path | None) -> None:
    """Write questions.parquet, and the annotation logs of both readers and of the first alone."""
    questions = read_questions(annotated / "questions.jsonl", window, annotated.absolute().parent.name)
    item_ids = questions["item_id"].to_pylist()
    with whole_folder(out, "questions.parquet", "*/round_1/*.jsonl") as folder:
        write_rows(folder / "questions.parquet", questions, QUESTIONS)
        for reader in READERS:
            path = annotated / f"{reader}.jsonl"
            labels: dict[str, Any] = read_labels(path)
            check_read(item_ids, labels, path)
            rewrites = read_rewrites(annotated / "rewrites.jsonl") if reader == READERS[0] else {}
            for name in ("annotations", "first_reader")[: 2 if reader == READERS[0] else 1]:
                create(log_path(folder / name, 1, reader), answers_of(labels, reader, rewrites))
    if metrics:
        counts = {"raw_lines": raw_lines, "turns": len(item_ids), "questions": len(item_ids), "left_out": {}}
        write_json(metrics, counts)
    click.echo(f"{out}: {len(item_ids):,} questions, read by {len(READERS)}")


if __name__ == "__main__":
    main()
