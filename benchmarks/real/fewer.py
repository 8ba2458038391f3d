"""Keep some training rows, to train a model on fewer labels.

Example:
    python -m benchmarks.real.fewer --alpaca data/alpaca --rows 200 --out data/fewer/200

The rows are drawn at random; those of 200 are among those of 400. Validation rows stay: a threshold is chosen on them.
With ``--of`` only the rows of that folder are fewer: all others of the training rows, of another chat, stay.
"""

from pathlib import Path
from random import Random

import click

from chatladder.io.console import SETTINGS, DataError, InputFolder, OutputFolder, example
from chatladder.io.files import read_json, whole_folder, write_json


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--alpaca", type=InputFolder, required=True, help="Folder that stages.to_alpaca wrote.")
@click.option("--of", "chat", type=InputFolder, help="Folder with the rows of the chat that is to have fewer.")
@click.option("--rows", type=click.IntRange(0), required=True, help="Training rows to keep.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw.")
@click.option("--out", type=OutputFolder, required=True, help="Folder to write.")
def main(alpaca: Path, chat: Path | None, rows: int, seed: int, out: Path) -> None:
    """Write the same rows with fewer to learn."""
    train = read_json((chat or alpaca) / "train.json")
    if rows > len(train):
        raise DataError(f"{(chat or alpaca) / 'train.json'}: expected {rows:,} rows or more, got {len(train):,}.")
    own = {row["item_id"] for row in train}
    others = [row for row in read_json(alpaca / "train.json") if row["item_id"] not in own]
    Random(seed).shuffle(train)
    with whole_folder(out, "*.json") as folder:
        write_json(folder / "train.json", train[:rows] + others)
        for split in ("validation", "test"):
            write_json(folder / f"{split}.json", read_json(alpaca / f"{split}.json"))
    more = f", and {len(others):,} others" if others else ""
    click.echo(f"{out}: {rows:,} of {len(train):,} rows to learn{more}")


if __name__ == "__main__":
    main()
