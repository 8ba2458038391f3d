r"""Check the labels with models that never saw them: which set do they agree with more, and do larger ones agree more?

Example:
    python -m stages.check_scaling --params params.yaml --labelled data/labelled.parquet \
        --label-sets data/label_sets.parquet --bases data/bases --predictions data/predictions --margin 0.005 \
        --metrics metrics/scaling.json --plots data/plots/scaling

First, it compares label sets under the same models (chatladder/evaluation/label_sets.py): rounds on the items of the
random part, annotators on their first answers to the same items. Then it checks the scaling law
(chatladder/evaluation/gate.py): pass, fail or inconclusive; the stage succeeds in each case. Only answers that no model
asked for are scored, never the new label of a suspect. Mixtures of experts are shown, but left out of the verdict.
"""

from pathlib import Path

import click

from chatladder.evaluation.gate import GateSettings
from chatladder.evaluation.label_sets import compare_all, compared_in_words, label_sets_of
from chatladder.evaluation.predictions import read_items
from chatladder.evaluation.rungs import Gathered, read_named, read_rungs
from chatladder.evaluation.scaling_check import (
    RUNG_COLUMNS,
    in_words,
    read_untouched,
    rung_rows,
    scaling_check,
)
from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    example,
    stoppable,
)
from chatladder.io.files import whole_folder, write_csv, write_json
from chatladder.io.options import options_of
from chatladder.io.rows import LABEL_SETS, SPLITS, read_rows


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(Gathered, "inputs")
@click.option("--label-sets", type=InputFile, help="Label sets to compare (parquet).")
@click.option("--split", type=click.Choice(SPLITS), help="Split to check; untouched models answer only this one.")
@click.option(
    "--predictions", type=InputFolder, required=True, help="Folder of the predictions vanilla and out_of_fold."
)
@options_of(GateSettings, "settings")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@click.option("--plots", type=OutputFolder, help="Folder of plot data to write: rungs.csv.")
@stoppable(NOTHING_KEPT)
def main(
    inputs: Gathered,
    label_sets: Path | None,
    split: str | None,
    predictions: Path,
    settings: GateSettings,
    metrics: Path,
    plots: Path | None,
) -> None:
    """Compare label sets under the same models, and measure how the models' AUROC grows with their size.

    Reports if the labels pass the gate, fail it or leave it open, and the next step.
    """
    named = read_named(inputs.params, judges=True)
    named.check(inputs.bases, "", named.untouched("base"))
    vanilla, out_of_fold = (predictions / name for name in ("vanilla", "out_of_fold"))
    named.check(vanilla, ".parquet", named.untouched("predict_vanilla"))
    named.check(out_of_fold, ".parquet", {rung: f"out_of_fold@{rung}" for rung in named.judges})
    ladder = read_rungs(inputs.bases, (*named.ladder, *named.served))
    untouched = [vanilla / f"{rung.key}.parquet" for rung in ladder.rungs()]
    tuned = [out_of_fold / f"{rung}.parquet" for rung in named.judges]
    sets = label_sets_of(read_rows(label_sets, LABEL_SETS)) if label_sets else []
    compared = compare_all(sets, untouched, tuned)
    items = read_items(inputs.labelled, split, "check_label")
    scaling = scaling_check(items, read_untouched(ladder, vanilla, items.ids), settings)
    if plots:
        with whole_folder(plots, "rungs.csv") as folder:
            write_csv(folder / "rungs.csv", RUNG_COLUMNS, rung_rows(scaling))
    by_title = {pair.title: {name: each.metrics() for name, each in said.items()} for pair, said in compared}
    write_json(metrics, {"label_sets": by_title, **scaling.metrics()})
    for pair, said in compared:
        for line in compared_in_words(pair.names, said):
            click.echo(line)
    for line in in_words(scaling, settings):
        click.echo(line)
    click.echo(f"{metrics}: gate {scaling.gate.verdict}; models: {scaling.gate.models}, items: {scaling.items:,}")


if __name__ == "__main__":
    main()
