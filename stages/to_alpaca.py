r"""Turn labelled questions into alpaca rows: instruction, input, output, one JSON file for each split.

Example:
    python -m stages.to_alpaca --labelled data/labelled.parquet --language zh --answer text --seed 0 \
        --out data/alpaca
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder, write_json
from chatladder.io.rows import LABELLED, SPLITS, read_rows
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, render_row


def alpaca_rows(
    labelled: Iterable[Mapping[str, Any]], *, language: str, answer: str, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Alpaca rows of each split, in the order of the labelled questions.

    Args:
        labelled: Rows of ``labelled``.
        language: Of the prompt.
        answer: ``text`` or ``lettered``.
        seed: Of the order of the options.

    Returns:
        Split -> rows of ``item_id``, ``instruction`` (the whole prompt), ``input`` (empty), ``output`` (the full text
        of the right option), ``options`` (the full text of every option, by its key). Trainers of alpaca data read
        ``instruction``, ``input`` and ``output``; the rest traces a row and lets it be scored.
    """
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row in labelled:
        prompt = render_row(row, language=language, answer=answer, seed=seed)
        splits[row["split"]].append(
            {
                "item_id": row["item_id"],
                "instruction": prompt.instruction,
                "input": "",
                "output": prompt.options[row["label"]],
                "options": prompt.options,
            }
        )
    return splits


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Language of the prompt.")
@click.option(
    "--answer", type=click.Choice(ANSWER_FORMS), required=True, help="Form of the answer: needed, or B: needed."
)
@click.option("--seed", type=int, required=True, help="Seed of the order of the options.")
@click.option("--out", type=OutputFolder, required=True, help="Folder for train, validation and test JSON.")
@stoppable(NOTHING_KEPT)
def main(labelled: Path, language: str, answer: str, seed: int, out: Path) -> None:
    """Write alpaca rows, one JSON file for each split."""
    rows = read_rows(labelled, LABELLED).to_pylist()
    splits = alpaca_rows(rows, language=language, answer=answer, seed=seed)
    with whole_folder(out, *(f"{split}.json" for split in splits)) as folder:
        for split, part in splits.items():
            write_json(folder / f"{split}.json", part)
    click.echo(f"{out}: " + ", ".join(f"{len(part):,} {split}" for split, part in splits.items()))


if __name__ == "__main__":
    main()
