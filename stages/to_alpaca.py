r"""Turn labelled questions into alpaca rows: instruction, input, output, one JSON file for each split.

Example:
    python -m stages.to_alpaca --labelled data/labelled.parquet --language zh --answer text --seed 0 \
        --out data/alpaca
"""

from pathlib import Path

import click

from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder, write_json
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, read_rows
from chatladder.models.prompts import PromptSettings, alpaca_splits


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@options_of(PromptSettings, "prompt")
@click.option("--out", type=OutputFolder, required=True, help="Folder for train, validation and test JSON.")
@stoppable(NOTHING_KEPT)
def main(labelled: Path, prompt: PromptSettings, out: Path) -> None:
    """Write alpaca rows, one JSON file for each split."""
    splits = alpaca_splits(read_rows(labelled, LABELLED).to_pylist(), prompt)
    with whole_folder(out, *(f"{split}.json" for split in splits)) as folder:
        for split, part in splits.items():
            write_json(folder / f"{split}.json", part)
    click.echo(f"{out}: " + ", ".join(f"{len(part):,} {split}" for split, part in splits.items()))


if __name__ == "__main__":
    main()
