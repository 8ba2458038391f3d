r"""Score every rung on the test items, before and after LoRA, and cheap baselines, with paired 95 % intervals.

Example:
    python -m stages.evaluate --params params.yaml --labelled data/labelled.parquet --bases data/bases \
        --vanilla data/predictions/vanilla --tuned data/predictions/tuned \
        --baselines data/predictions/baselines --curves data/curves --seed 0 \
        --metrics metrics/models.json --plots data/plots/models

It reads predictions only, so a new metric costs seconds and needs no model. For a rung with several seeds, scores are
means, and intervals cover both conversations and seeds.

A tuned rung's answers are decided at a threshold of their log-odds, which is chosen on the validation items for each
seed and written to the metrics; the most probable options are scored too. With more than two labels the most probable
option is the answer.
"""

from pathlib import Path

import click

from chatladder.evaluation.comparison import (
    check_names,
    compare,
    exam_of,
    floor_of,
    models_metrics,
    read_baselines,
    write_plots,
)
from chatladder.evaluation.predictions import read_items
from chatladder.evaluation.rungs import Gathered, read_named, read_rungs
from chatladder.evaluation.scores import FEWEST_DRAWN, Draws
from chatladder.evaluation.threshold import FEWEST, FEWEST_OF_LABEL, is_enough
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFolder, OutputFile, OutputFolder, bar, example, stoppable
from chatladder.io.files import write_json
from chatladder.io.options import options_of
from chatladder.vocabulary import IS_BINARY


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(Gathered, "inputs")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@click.option("--tuned", type=InputFolder, required=True, help="Folder of predictions after LoRA.")
@click.option("--baselines", type=InputFolder, help="Folder of what baselines answer to the test items.")
@click.option("--curves", type=InputFolder, help="Folder of curve folders, one a rung: plots of losses and settings.")
@options_of(Draws, "draws")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@click.option("--plots", type=OutputFolder, required=True, help="Folder of plot data to write.")
@stoppable(NOTHING_KEPT)
def main(
    inputs: Gathered,
    vanilla: Path,
    tuned: Path,
    baselines: Path | None,
    curves: Path | None,
    draws: Draws,
    metrics: Path,
    plots: Path,
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
    exam = exam_of(inputs.labelled, draws)
    chosen_on = read_items(inputs.labelled, "validation", is_small=True)
    compared = [compare(exam, chosen_on, rung, vanilla, tuned) for rung in bar("compare", rungs, unit=" rungs")]
    floor = floor_of(exam, inputs.labelled)
    beside = read_baselines(exam, baselines) if baselines else {}
    write_plots(plots, exam, chosen_on, compared, floor, curves)
    write_json(metrics, models_metrics(exam, chosen_on, compared, floor, beside))
    if not exam.has_intervals:
        click.echo(
            f"{inputs.labelled}: too few conversations for an interval ({exam.conversations} of at least "
            f"{FEWEST_DRAWN}). Annotate more conversations.",
            err=True,
        )
    if IS_BINARY and not is_enough(chosen_on.references):
        click.echo(
            f"{inputs.labelled}: too few validation items to choose a threshold on ({len(chosen_on.ids)} of at least "
            f"{FEWEST}, with {FEWEST_OF_LABEL} of each label): a tuned answer is the most probable option. Raise "
            "split.validation, or annotate more conversations.",
            err=True,
        )
    names = ", ".join(rung.key for rung in rungs)
    click.echo(f"{metrics}: {names} on {len(exam.items.ids):,} test items; plots in {plots}")


if __name__ == "__main__":
    main()
