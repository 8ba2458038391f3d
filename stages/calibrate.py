r"""Check the labels against the scaling law: does the untouched models' score grow with their size?

Example:
    python -m stages.calibrate --labelled data/labelled.parquet --rung tiny --rung small --bases data/bases \
        --vanilla data/predictions/vanilla --seed 0 --metrics metrics/calibration.json --plots data/growth

Uses every labelled item, since untouched models were trained on none of them. Wrong labels flatten the slope. The gate
(chatladder/evaluation/gate.py) says pass, fail or inconclusive, and the stage succeeds whatever it says. Its own
verdict is that on the precision of the answers as they are, as in arXiv 2405.02817; beside it stand those on other
metrics, and on centred answers, which take off what a model leans to one answer by itself. Mixtures of experts are
shown, and left out of fit and verdict.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from chatladder.evaluation.gate import GATED
from chatladder.evaluation.gate_ladder import Ladder, Reading, calibration, read_ladder
from chatladder.evaluation.gate_words import advice, leaning, overview
from chatladder.evaluation.intervals import DIGITS, bootstrap
from chatladder.evaluation.predictions import read_items, read_predictions
from chatladder.evaluation.rung_scores import points
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

PAIR_COLUMNS = ("answers", "metric", "smaller", "larger", "difference", "lo", "hi")
RUNG_COLUMNS = ("answers", "metric", "rung", "params", "kind", "value", "lo", "hi")


def pair_rows(readings: Mapping[str, Reading]) -> Iterator[tuple[Any, ...]]:
    """One row per reading, metric and pair of sizes: larger minus smaller."""
    for name, reading in readings.items():
        for metric, gate in reading.gates.items():
            for smaller, larger, *figures in gate.pairs:
                yield (name, metric, smaller, larger, *(round(figure, DIGITS) + 0.0 for figure in figures))


def rung_rows(ladder: Ladder, readings: Mapping[str, Reading]) -> Iterator[tuple[Any, ...]]:
    """One row per reading, metric and rung that has that metric; intervals hold together over the rungs."""
    for name, reading in readings.items():
        for metric in reading.draws:
            for rung, is_mixture, score in points(reading, ladder, metric):
                kind = "mixture" if is_mixture else "dense"
                yield (name, metric, *rung, kind, *(round(figure, DIGITS) + 0.0 for figure in score))


def write_plots(folder: Path, ladder: Ladder, readings: Mapping[str, Reading]) -> None:
    """Write ``pairs.csv`` and ``rungs.csv``."""
    tables = {"pairs": (PAIR_COLUMNS, pair_rows(readings)), "rungs": (RUNG_COLUMNS, rung_rows(ladder, readings))}
    with whole_folder(folder, *(f"{name}.csv" for name in tables)) as temporary:
        for name, (columns, rows) in tables.items():
            write_csv(temporary / f"{name}.csv", columns, rows)


def report(metrics: Mapping[str, Any], ladder: Ladder, readings: Mapping[str, Reading]) -> Iterator[str]:
    """The verdicts in words, line by line."""
    raw, centred = readings["raw"].gates, readings["centred"].gates
    yield overview("as answered", raw)
    yield overview("centred", centred)
    for rung, active in ladder.mixtures.items():
        value = metrics["mixtures"][rung.key]["precision"]
        score = "not defined" if value is None else f"{value:.3f}"
        yield (
            f"{rung.key}: precision {score}; shown, not fitted: a mixture of experts, {rung.params:,} parameters, "
            f"{active:,} a token"
        )
    yield from advice(raw[GATED[0]], GATED[0])
    yield from leaning(raw[GATED[0]], centred[GATED[0]])


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--rung", "keys", multiple=True, required=True, help="Key of a rung; repeat it for each.")
@click.option("--bases", type=InputFolder, required=True, help="Folder of base folders, one a rung.")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@click.option("--draws", type=click.IntRange(min=100), default=2000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(min=0), required=True, help="Seed of the bootstrap.")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@click.option("--plots", type=OutputFolder, help="Folder of plot data to write: pairs.csv and rungs.csv.")
@stoppable(NOTHING_KEPT)
def main(
    labelled: Path,
    keys: tuple[str, ...],
    bases: Path,
    vanilla: Path,
    draws: int,
    seed: int,
    metrics: Path,
    plots: Path | None,
) -> None:
    """Write how much each metric of the untouched models grows per doubling of their parameters.

    Says whether the labels pass the gate, fail it, or leave it open, and what to do next.
    """
    ladder = read_ladder(bases, keys)
    items = read_items(labelled, None)
    sample = bootstrap(items.conversations, draws, seed)
    predictions = [read_predictions(vanilla / f"{rung.key}.parquet", items.ids) for rung in ladder.rungs()]
    found, readings = calibration(items, sample, ladder, predictions)
    if plots:
        write_plots(plots, ladder, readings)
    write_json(metrics, found)
    for line in report(found, ladder, readings):
        click.echo(line)
    click.echo(f"{metrics}: gate {found['gate']} over {len(ladder.dense)} rungs and {len(items.ids):,} items")


if __name__ == "__main__":
    main()
