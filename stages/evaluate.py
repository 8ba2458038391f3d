r"""Score every rung on the test items, before and after LoRA, with paired 95 % intervals.

Example:
    python -m stages.evaluate --params params.yaml --labelled data/labelled.parquet --bases data/bases \
        --vanilla data/predictions/vanilla --tuned data/predictions/tuned --curves data/curves --seed 0 \
        --metrics metrics/models.json --plots data/plots/models

Reads predictions only, so a new metric costs seconds and no model.
"""

from pathlib import Path

import click
from tqdm import tqdm

from chatladder.evaluation.comparison import check_names, compare, floor_of, models_metrics, write_plots
from chatladder.evaluation.predictions import read_items
from chatladder.evaluation.rungs import Gathered, read_named, read_rungs
from chatladder.evaluation.scores import Draws, bootstrap
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFolder, OutputFile, OutputFolder, example, stoppable
from chatladder.io.files import write_json
from chatladder.io.options import options_of


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(Gathered, "inputs")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@click.option("--tuned", type=InputFolder, required=True, help="Folder of predictions after LoRA.")
@click.option("--curves", type=InputFolder, help="Folder of curve folders, one a rung: plots of losses and settings.")
@options_of(Draws, "draws")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@click.option("--plots", type=OutputFolder, required=True, help="Folder of plot data to write.")
@stoppable(NOTHING_KEPT)
def main(
    inputs: Gathered, vanilla: Path, tuned: Path, curves: Path | None, draws: Draws, metrics: Path, plots: Path
) -> None:
    """Write precision, recall, F1 and more of every rung on the test items, before and after LoRA."""
    named = read_named(inputs.params)
    check_names(named.ladder, metrics)
    named.check(inputs.bases, "", named.trained("base"), named.served)
    named.check(vanilla, ".parquet", named.trained("predict_vanilla"), named.served)
    named.check(tuned, ".parquet", named.trained("predict_tuned"))
    if curves:
        named.check(curves, "", named.trained("train"))
    rungs = read_rungs(inputs.bases, named.ladder).ascending()
    items = read_items(inputs.labelled, "test")
    chosen_on = read_items(inputs.labelled, "validation", is_small=True)
    sample = bootstrap(items.conversations, draws)
    bar = tqdm(rungs, unit="rung", disable=None)
    compared = [compare(items, chosen_on, sample, rung, vanilla, tuned) for rung in bar]
    floor = floor_of(items, sample)
    write_plots(plots, items, chosen_on, compared, floor, curves)
    write_json(metrics, models_metrics(items, chosen_on, compared, floor))
    click.echo(f"{metrics}: {len(rungs)} rungs on {len(items.ids):,} test items; plots in {plots}")


if __name__ == "__main__":
    main()
