r"""Check the labels against the scaling law: does the untouched models' score grow with their size?

Example:
    python -m stages.calibrate --labelled data/labelled.parquet --rung tiny --rung small --bases data/bases \
        --vanilla data/predictions/vanilla --seed 0 --metrics metrics/calibration.json

Uses every labelled item, since untouched models were trained on none of them. Wrong labels flatten the slope.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from stages.cli import SETTINGS, InputFile, InputFolder, OutputFile, example
from stages.files import write_json
from stages.statistics.intervals import Bootstrap, bootstrap, interval
from stages.statistics.predictions import (
    Items,
    Predictions,
    Rung,
    centre,
    read_items,
    read_predictions,
    read_rungs,
)
from stages.statistics.scaling import slope_per_doubling
from stages.statistics.scores import Floats, answer_scores, scores

#: Metrics whose growth is reported; centring moves no item past another, so ``auroc`` is the same there.
RAW = ("precision", "macro_f1", "balanced_accuracy", "auroc")
CENTRED = ("precision", "macro_f1", "balanced_accuracy")


def slopes(
    rungs: Sequence[Rung], by_rung: Sequence[Mapping[str, Floats]], metrics: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """The slope of each metric per doubling of the parameters, with its interval.

    Args:
        rungs: The rungs.
        by_rung: Metric -> values of each rung under the same draws, shape ``(1 + draws,)``.
        metrics: Which metrics.

    Raises:
        DataError: If the rungs are all of one size.
    """
    params = [rung.params for rung in rungs]
    result = {}
    for metric in metrics:
        values = np.stack([draws[metric] for draws in by_rung], axis=1)
        result[metric] = interval("slope", slope_per_doubling(params, values))
    return result


def calibration(
    items: Items, sample: Bootstrap, rungs: Sequence[Rung], predictions: Sequence[Predictions]
) -> dict[str, Any]:
    """What ``metrics/calibration.json`` holds: slopes of the raw answers, and of the centred ones.

    Args:
        items: The labelled items.
        sample: Weights of their conversations, the same for every rung, so that slopes are paired.
        rungs: The rungs.
        predictions: Their predictions for ``items``, in the order of ``rungs``.

    Raises:
        DataError: If the rungs are all of one size.
    """
    labels, clusters, weights = items.references, sample.clusters, sample.weights
    raw = []
    centred = []
    for each in tqdm(predictions, unit="rung", disable=None):
        raw.append(scores(labels, each.answers, each.log_odds, clusters, weights))
        centred.append(answer_scores(labels, centre(each).answers, clusters, weights))
    return {
        "items": len(items.ids),
        "conversations": len(set(items.conversations)),
        "rungs": len(rungs),
        **slopes(rungs, raw, RAW),
        "centred": slopes(rungs, centred, CENTRED),
    }


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--rung", "keys", multiple=True, required=True, help="Key of a rung; repeat it for each.")
@click.option("--bases", type=InputFolder, required=True, help="Folder of base folders, one a rung.")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@click.option("--draws", type=click.IntRange(min=100), default=2000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(min=0), required=True, help="Seed of the bootstrap.")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
def main(
    labelled: Path, keys: tuple[str, ...], bases: Path, vanilla: Path, draws: int, seed: int, metrics: Path
) -> None:
    """Write how much each metric of the untouched models grows per doubling of their parameters."""
    rungs = read_rungs(bases, keys)
    items = read_items(labelled, None)
    sample = bootstrap(items.conversations, draws, seed)
    predictions = [read_predictions(vanilla / f"{rung.key}.parquet", items.ids) for rung in rungs]
    result = calibration(items, sample, rungs, predictions)
    write_json(metrics, result)
    found = result["precision"]
    click.echo(
        f"{metrics}: precision {found['slope']:+.3f} [{found['slope_lo']:+.3f}, {found['slope_hi']:+.3f}] "
        f"per doubling, over {len(rungs)} rungs and {len(items.ids):,} items"
    )


if __name__ == "__main__":
    main()
