r"""Turn labelled questions into alpaca rows: instruction, input, output, one JSON file for each split.

Labelled questions of other chats are learned from, too, whatever their split: a model that was tuned on one chat also
understands others (benchmarks/real). They are files as ``stages.label`` writes them. They choose no threshold and are
not in any test.

From the questions that people wrote out, it can also make rows for a second adapter: the instruction, with the question
written out as output, and as many questions that need nothing, which stay as they are. Texts longer than a model may
write are left out, since the longest one determines how much room every prompt has.

Example:
    python -m stages.to_alpaca --labelled data/labelled.parquet --language zh --answer text --seed 0 \
        --out data/alpaca
    python -m stages.to_alpaca --labelled data/labelled.parquet --language zh --answer text --seed 0 \
        --out data/alpaca --rewrites data/rewrites.parquet --rewriting data/rewriting
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFolder,
    example,
    stoppable,
)
from chatladder.io.files import whole_folder, write_json
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, read_rows, read_written_out
from chatladder.models.prompts import PromptSettings, alpaca_row, alpaca_splits, rewrite_row, to_write_out
from chatladder.vocabulary import SCORED

#: The most characters of a text to learn.
LONGEST = 256


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@options_of(PromptSettings, "prompt")
@click.option("--others", type=InputFolder, help="Folder of labelled questions of other chats (parquet).")
@click.option("--rewrites", type=InputFile, help="Rewrites by people (parquet).")
@click.option("--rewriting", type=OutputFolder, help="Folder for JSON files of the rewrites.")
@click.option(
    "--out", type=OutputFolder, required=True, help="Folder for the JSON files of train, validation and test."
)
@stoppable(NOTHING_KEPT)
def main(
    labelled: Path,
    prompt: PromptSettings,
    others: Path | None,
    rewrites: Path | None,
    rewriting: Path | None,
    out: Path,
) -> None:
    """Write alpaca rows, one JSON file for each split."""
    if (rewrites is None) != (rewriting is None):
        raise click.UsageError("--rewrites and --rewriting: expected both or neither, got one. Give the other.")
    rows = read_rows(labelled, LABELLED).to_pylist()
    splits = alpaca_splits(rows, lambda row: alpaca_row(row, prompt))
    learned = read_others(others, rows) if others else []
    splits["train"] += [alpaca_row(row, prompt) for row in learned]
    write(out, splits)
    if learned:
        click.echo(f"{out}: {len(learned):,} of train are from other chats, in {others}")
    if rewrites and rewriting:
        short = [
            row
            for row in read_written_out(labelled, rewrites).to_pylist()
            if len(row["rewrite"] or row["text"]) <= LONGEST
        ]
        write(rewriting, alpaca_splits(to_write_out(short, prompt.seed), lambda row: rewrite_row(row, prompt.language)))


def read_others(folder: Path, own: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the labelled questions of other chats, file by file.

    Args:
        folder: The folder of their files.
        own: The labelled questions of this chat.

    Raises:
        DataError: If a file holds questions of this chat, of which some are for the test, or labels of another task.
    """
    found: list[dict[str, Any]] = []
    known = {fact for row in own for fact in _facts(row)}
    for path in sorted(folder.glob("*.parquet")):
        rows = read_rows(path, LABELLED).to_pylist()
        if same := sum(not known.isdisjoint(_facts(row)) for row in rows):
            raise DataError(
                f"{path}: expected questions of another chat, got {same:,} of this one: test questions would be "
                "learned. Remove the file."
            )
        if strange := sorted({row["label"] for row in rows} - set(SCORED)):
            raise DataError(
                f"{path}: expected labels among {', '.join(SCORED)}, got {', '.join(strange)}. Take the labels of a "
                "project with the same task."
            )
        found += rows
    return found


def _facts(row: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what a question is known by, also in a project of the same chat under another key, where ids differ."""
    yield row["item_id"]
    if row["timestamp"] is not None:
        yield row["timestamp"], row["text"]


def write(out: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the rows of each split, and print their numbers if there are any."""
    with whole_folder(out, *(f"{split}.json" for split in splits)) as folder:
        for split, part in splits.items():
            write_json(folder / f"{split}.json", part)
    if any(splits.values()):
        click.echo(f"{out}: " + ", ".join(f"{len(part):,} {split}" for split, part in splits.items()))


if __name__ == "__main__":
    main()
