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


def train(base: Path, alpaca: Path, options: dict[str, Any], out: Path, curves: Path) -> str:
    """Fit, then write the adapter and its curves; gives one line about what was done.

    Raises:
        DataError: If there is nothing to learn, or the training diverges; neither folder is then written.
    """
    from stages.models.curves import Curves
    from stages.models.fitting import encode_rows
    from stages.models.loading import load, read_rung
    from stages.models.lora import LoraSettings, fit, read_alpaca, save, wrap

    settings = LoraSettings(**options)
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
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True), required=True, help="Highest rate of AdamW."
)
@click.option("--num-train-epochs", type=click.IntRange(1), required=True, help="Times that each row is seen.")
@click.option("--per-device-train-batch-size", type=click.IntRange(1), required=True, help="Rows a forward pass.")
@click.option("--gradient-accumulation-steps", type=click.IntRange(1), required=True, help="Forward passes a step.")
@click.option("--warmup-steps", type=click.IntRange(0), required=True, help="Steps of rising learning rate.")
@click.option("--weight-decay", type=click.FloatRange(0), required=True, help="Weight decay of AdamW.")
@click.option("--lora-r", type=click.IntRange(1), required=True, help="Rank of the adapter.")
@click.option("--lora-alpha", type=click.FloatRange(0, min_open=True), required=True, help="Its scale, times its rank.")
@click.option(
    "--lora-dropout", type=click.FloatRange(0, 1, max_open=True), required=True, help="Share of inputs it drops."
)
@click.option(
    "--target-modules",
    callback=lambda _context, _option, value: tuple(value.split(",")),
    required=True,
    # One option and not a repeated one: a rung's own value must replace the default, not add to it.
    help="all-linear, or layer names with commas between them: q_proj,v_proj.",
)
@click.option("--max-length", type=click.IntRange(64), required=True, help="Most tokens of prompt and answer.")
@click.option("--seed", type=int, required=True, help="Seed of adapter weights, dropout and order.")
@click.option("--out", type=OutputFolder, required=True, help="Adapter folder to write.")
@click.option("--curves", type=OutputFolder, required=True, help="Folder of loss curves to write.")
def main(base: Path, alpaca: Path, out: Path, curves: Path, **options: Any) -> None:
    """Fit a LoRA adapter and write its loss curves."""
    said = train(base, alpaca, options, out, curves)
    click.echo(f"{out}: {said}")


if __name__ == "__main__":
    main()
