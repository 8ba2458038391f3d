r"""Check the labels against the scaling law: does the untouched models' score grow with their size?

Example:
    python -m stages.check_scaling --params params.yaml --labelled data/labelled.parquet --bases data/bases \
        --vanilla data/predictions/vanilla --seed 0 --metrics metrics/scaling.json --plots data/plots/scaling

Uses every labelled item, since untouched models were trained on none of them. Wrong labels flatten the slope. The gate
(chatladder/evaluation/gate.py) says pass, fail or inconclusive, and the stage succeeds whatever it says. Its own
verdict is that on the precision of the answers as they are, as in arXiv 2405.02817; beside it stand those on other
metrics, and on centred answers, which take off what a model leans to one answer by itself. Mixtures of experts are
shown, and left out of fit and verdict.
"""

from pathlib import Path

import click

from chatladder.evaluation.predictions import read_items, read_predictions
from chatladder.evaluation.rungs import Gathered, read_named, read_rungs
from chatladder.evaluation.scaling_check import RUNG_COLUMNS, in_words, need_two_sizes, rung_rows, scaling_check
from chatladder.evaluation.scores import Draws, bootstrap
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFolder, OutputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder, write_csv, write_json
from chatladder.io.options import options_of


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(Gathered, "inputs")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@options_of(Draws, "draws")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@click.option("--plots", type=OutputFolder, help="Folder of plot data to write: rungs.csv.")
@stoppable(NOTHING_KEPT)
def main(inputs: Gathered, vanilla: Path, draws: Draws, metrics: Path, plots: Path | None) -> None:
    """Write how much each metric of the untouched models grows per doubling of their parameters.

    Says whether the labels pass the gate, fail it, or leave it open, and what to do next.
    """
    named = read_named(inputs.params)
    named.check(inputs.bases, "", named.untouched("base"))
    named.check(vanilla, ".parquet", named.untouched("predict_vanilla"))
    ladder = read_rungs(inputs.bases, (*named.ladder, *named.served))
    need_two_sizes(ladder)
    items = read_items(inputs.labelled, None)
    predictions = [read_predictions(vanilla / f"{rung.key}.parquet", items.ids) for rung in ladder.rungs()]
    values, readings = scaling_check(items, bootstrap(items.conversations, draws), ladder, predictions)
    if plots:
        with whole_folder(plots, "rungs.csv") as folder:
            write_csv(folder / "rungs.csv", RUNG_COLUMNS, rung_rows(ladder, readings))
    write_json(metrics, values)
    for line in in_words(values, ladder, readings):
        click.echo(line)
    click.echo(f"{metrics}: gate {values['gate']} over {len(ladder.dense)} rungs and {len(items.ids):,} items")


if __name__ == "__main__":
    main()
