r"""Fit a LoRA adapter to one base model of the ladder.

Example:
    python -m stages.train --base data/bases/small --alpaca data/alpaca --learning-rate 4.0e-3 --num-train-epochs 3 \
        --per-device-train-batch-size 32 --gradient-accumulation-steps 1 --warmup-steps 10 --weight-decay 0 \
        --lora-r 16 --lora-alpha 32 --lora-dropout 0.05 --target-modules all-linear --max-length 1400 --seed 0 \
        --out data/adapters/small --curves data/curves/small
"""

from pathlib import Path
from typing import Any

import click

from stages.cli import SETTINGS, DataError, InputFolder, OutputFolder, example
from stages.files import whole_folder
from stages.models.settings import TrainSettings, train_options


def train(base: Path, alpaca: Path, options: dict[str, Any], out: Path, curves: Path) -> str:
    """Fit, then write the adapter and its curves; gives one line about what was done.

    Raises:
        DataError: If there is nothing to learn, or the training diverges; neither folder is then written.
    """
    from stages.models.adapters import save, wrap
    from stages.models.alpaca import read_alpaca
    from stages.models.curves import Curves
    from stages.models.encoding import encode_rows
    from stages.models.loading import load, read_rung
    from stages.models.training import fit

    settings = TrainSettings(**options)
    rows = {split: read_alpaca(alpaca / f"{split}.json") for split in ("train", "validation")}
    if not rows["train"]:
        raise DataError(f"{alpaca / 'train.json'}: expected rows to learn, got none.")
    model, tokenizer = load(base)
    encoded = {split: encode_rows(tokenizer, part, settings.max_length) for split, part in rows.items()}
    adapted = wrap(model, settings, read_rung(base)["name"])
    with whole_folder(out) as adapter, whole_folder(curves) as folder, Curves(folder) as log:
        fit(adapted, tokenizer.pad_token_id, encoded["train"], encoded["validation"], settings, log)
        save(adapted, adapter)
    return (
        f"{len(rows['train']):,} rows, {log.steps:,} steps, last loss {log.last('train/loss'):.3f} "
        f"(deciding token {log.last('train/deciding_loss'):.3f}), {encoded['train'].shortened:,} prompts shortened"
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--alpaca", type=InputFolder, required=True, help="Folder that stages.to_alpaca wrote.")
@train_options
@click.option("--out", type=OutputFolder, required=True, help="Adapter folder to write.")
@click.option("--curves", type=OutputFolder, required=True, help="Folder of loss curves to write.")
def main(base: Path, alpaca: Path, out: Path, curves: Path, **options: Any) -> None:
    """Fit a LoRA adapter and write its loss curves."""
    said = train(base, alpaca, options, out, curves)
    click.echo(f"{out}: {said}")


if __name__ == "__main__":
    main()
