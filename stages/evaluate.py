r"""Score every rung on the test items, before and after LoRA, with paired 95 % intervals.

Example:
    python -m stages.evaluate --labelled data/labelled.parquet --rung tiny --rung small --bases data/bases \
        --vanilla data/predictions/vanilla --tuned data/predictions/tuned --seed 0 \
        --curves data/curves --metrics metrics/models.json --plots data/plots

Reads predictions only, so a new metric costs seconds and no model.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from tqdm import tqdm

from chatladder.evaluation import tuning_plots as tuning
from chatladder.evaluation.intervals import DIGITS, Bootstrap, bootstrap, interval
from chatladder.evaluation.predictions import (
    Items,
    Predictions,
    Rung,
    always_needed,
    centre,
    read_items,
    read_predictions,
    read_rungs,
)
from chatladder.evaluation.scores import METRICS, Floats, scores
from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    example,
    stoppable,
)
from chatladder.io.files import whole_folder, write_csv, write_json
from chatladder.vocabulary import ANSWERS

#: Metrics whose change from vanilla to tuned is reported.
GAINS = ("precision", "recall", "f1", "macro_f1", "balanced_accuracy")
#: Keys of ``metrics/models.json`` that are not rungs.
RESERVED = ("floor", "test_items", "test_needed")

SCALING_COLUMNS = ("rung", "params", "kind", "metric", "value", "lo", "hi")
CONFUSION_COLUMNS = ("rung", "params", "kind", "reference", "answer", "items", "share")


class Scored(NamedTuple):
    """One model's answers to the test items and their metrics, each of shape ``(1 + draws,)``."""

    predictions: Predictions
    draws: dict[str, Floats]


class Compared(NamedTuple):
    """A rung before LoRA, before it but centred, and after it."""

    rung: Rung
    kinds: dict[str, Scored]


def score(items: Items, sample: Bootstrap, predictions: Predictions) -> Scored:
    """All metrics of one model under every draw."""
    draws = scores(items.references, predictions.answers, predictions.log_odds, sample.clusters, sample.weights)
    return Scored(predictions, draws)


def compare(items: Items, sample: Bootstrap, rung: Rung, vanilla: Path, tuned: Path) -> Compared:
    """Score one rung's predictions on the same items and draws.

    Raises:
        DataError: If a prediction of a test item is missing.
    """
    before = read_predictions(vanilla / f"{rung.key}.parquet", items.ids)
    after = read_predictions(tuned / f"{rung.key}.parquet", items.ids)
    kinds = {"vanilla": before, "centred": centre(before), "tuned": after}
    return Compared(rung, {kind: score(items, sample, answers) for kind, answers in kinds.items()})


def metrics_of(scored: Scored) -> dict[str, float]:
    """Every metric with its interval, and the share of answers that could not be read."""
    values: dict[str, float] = {}
    for metric in METRICS:
        values |= interval(metric, scored.draws[metric])
    return {**values, "unparsed": round(float(1 - scored.predictions.parsed.mean()), DIGITS)}


def models_metrics(items: Items, compared: list[Compared], floor: Scored) -> dict[str, Any]:
    """What ``metrics/models.json`` holds: a rung's three kinds and its gain, then the floor."""
    metrics: dict[str, Any] = {}
    for rung, kinds in compared:
        gain: dict[str, float] = {}
        for metric in GAINS:
            gain |= interval(metric, kinds["tuned"].draws[metric] - kinds["vanilla"].draws[metric])
        by_kind = {kind: metrics_of(scored) for kind, scored in kinds.items()}
        metrics[rung.key] = {"params": rung.params, **by_kind, "gain": gain}
    needed = sum(ANSWERS[code] == "needed" for code in items.references)
    return {**metrics, "floor": metrics_of(floor), "test_items": len(items.ids), "test_needed": needed}


def scaling_rows(compared: Iterable[Compared], floor: Scored) -> Iterator[tuple[Any, ...]]:
    """One row per rung, kind and metric; the floor is repeated at every size, so that it draws as a line."""
    for rung, kinds in compared:
        for kind, scored in {**kinds, "always needed": floor}.items():
            values = metrics_of(scored)
            for metric in METRICS:
                yield (*rung, kind, metric, values[metric], values[f"{metric}_lo"], values[f"{metric}_hi"])


def confusion_rows(items: Items, compared: list[Compared]) -> Iterator[tuple[Any, ...]]:
    """One row per kind, rung, label and answer: how many test items, and which share of that label's."""
    for kind in ("vanilla", "tuned"):
        for rung, kinds in compared:
            cells = np.zeros((2, 3), dtype=np.int64)
            np.add.at(cells, (items.references, kinds[kind].predictions.answers), 1)
            for (reference, answer), count in np.ndenumerate(cells):
                share = round(float(count / cells[reference].sum()), DIGITS)
                yield (*rung, kind, ANSWERS[reference], ANSWERS[answer], int(count), share)


def tuning_table(compared: Sequence[Compared], curves: Path) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of what each rung was trained with and came to.

    Raises:
        DataError: If what a rung was trained with is not in its folder of curves.
    """
    settings = {rung.key: tuning.read_settings(curves / rung.key) for rung, _ in compared}
    names = tuple(dict.fromkeys(name for of_rung in settings.values() for name in of_rung))
    rows: list[tuple[Any, ...]] = []
    for rung, kinds in compared:
        scored = kinds["tuned"]
        values = metrics_of(scored)
        loss = tuning.validation_loss(curves / rung.key, settings[rung.key])
        rows += tuning.tuning_rows(rung, settings[rung.key], names, len(scored.predictions.answers), values, loss)
    return (*tuning.COLUMNS, *names), rows


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--rung", "keys", multiple=True, required=True, help="Key of a rung; repeat it for each.")
@click.option("--bases", type=InputFolder, required=True, help="Folder of base folders, one a rung.")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@click.option("--tuned", type=InputFolder, required=True, help="Folder of predictions after LoRA.")
@click.option("--curves", type=InputFolder, help="Folder of curve folders, one a rung, for plots over experiments.")
@click.option("--draws", type=click.IntRange(min=100), default=2000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(min=0), required=True, help="Seed of the bootstrap.")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@click.option("--plots", type=OutputFolder, required=True, help="Folder of plot data to write.")
@stoppable(NOTHING_KEPT)
def main(
    labelled: Path,
    keys: tuple[str, ...],
    bases: Path,
    vanilla: Path,
    tuned: Path,
    curves: Path | None,
    draws: int,
    seed: int,
    metrics: Path,
    plots: Path,
) -> None:
    """Write precision, recall, F1 and more of every rung on the test items, before and after LoRA."""
    for key in keys:
        if key in RESERVED:
            raise DataError(f"rung {key}: this name is taken by another part of {metrics}; rename the rung.")
    rungs = read_rungs(bases, keys)
    items = read_items(labelled, "test")
    sample = bootstrap(items.conversations, draws, seed)
    compared = [compare(items, sample, rung, vanilla, tuned) for rung in tqdm(rungs, unit="rung", disable=None)]
    floor = score(items, sample, always_needed(len(items.ids)))
    with whole_folder(plots, "scaling.csv", "confusion.csv", "tuning.csv") as folder:
        write_csv(folder / "scaling.csv", SCALING_COLUMNS, scaling_rows(compared, floor))
        write_csv(folder / "confusion.csv", CONFUSION_COLUMNS, confusion_rows(items, compared))
        if curves:
            write_csv(folder / "tuning.csv", *tuning_table(compared, curves))
    write_json(metrics, models_metrics(items, compared, floor))
    click.echo(f"{metrics}: {len(rungs)} rungs on {len(items.ids):,} test items; plots in {plots}")


if __name__ == "__main__":
    main()
