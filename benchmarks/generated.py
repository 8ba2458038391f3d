r"""Generating answers compared with scoring options, for untouched models: equal answers, unreadable ones, precision.

Example:
    python -m benchmarks.generated --labelled data/labelled.parquet --bases data/bases

Each rung in the folder with local weights answers labelled items in three ways: it generates an answer to one order of
the options, each item's own; its options are scored in that order; and they are scored in all orders. Prints a Markdown
table. Precision is as answered: the share of "needed" among the items to which a model answers "needed"; an answer that
is none of the options counts as neither. Only scored options have probabilities, and so an AUROC (of p_needed).
Intervals are over conversations.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.results import known, publish, save_option
from chatladder.evaluation.rungs import read_rungs
from chatladder.evaluation.scores import NEEDED, Bootstrap, Draws, auroc, bootstrap, interval
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, read_rows
from chatladder.models.generating import generate, named_rows
from chatladder.models.loading import load
from chatladder.models.prompts import ORDERS, PromptSettings, render_row
from chatladder.models.scoring import PromptBatches, over_orders, prediction_rows
from chatladder.vocabulary import ANSWERS

HEADS = ("rung", "asked by", "equal to generated", "none of the options", "precision", "AUROC [95 %]", "to one order")


def ask(base: Path, items: Sequence[Any], prompt: PromptSettings, max_length: int) -> dict[str, list[dict[str, Any]]]:
    """Return way of asking -> its rows of ``predictions``: generating, then scoring in one order and in all."""
    prompts = [render_row(item, prompt) for item in items]
    model, tokenizer = load(base)
    scoring = PromptBatches(model, tokenizer, prompts, max_length, ORDERS)
    indices, values = scoring.score(scoring.batches)
    scores = np.empty((len(prompts) * ORDERS, len(ANSWERS)))
    scores[indices] = values
    generated = generate(model, tokenizer, prompts, max_length)
    texts = [text for _, text in sorted(zip(generated.indices, generated.texts, strict=True))]
    return {
        "generating, 1 order": named_rows(items, prompts, texts),
        "scoring, 1 order": prediction_rows(items, scores[::ORDERS]),  # each prompt's own order is its first
        f"scoring, {ORDERS} orders": prediction_rows(items, over_orders(scores, ORDERS)),
    }


def cells_of(ways: dict[str, list[dict[str, Any]]], references: np.ndarray, sample: Bootstrap) -> list[list[str]]:
    """Return the cells of each way of asking, without the rung's cell."""
    (written, is_read), *_ = ((column(rows, "answer"), column(rows, "parsed")) for rows in ways.values())
    table, areas = [], []
    for way, rows in ways.items():
        answers, evidence = column(rows, "answer"), column(rows, "p_needed")
        given = answers == ANSWERS[NEEDED]
        hits = f"{100 * (references[given] == NEEDED).mean():.1f} % of {given.sum():,}" if given.any() else "none given"
        cells = [way, "", f"{(~column(rows, 'parsed')).sum():,}", hits, "", ""]
        if None not in evidence:
            areas.append(auroc(references, evidence, sample.clusters, sample.weights))
            cells[1] = f"{100 * (is_read & (answers == written)).mean():.1f} %"
            cells[4] = "{:.3f} [{:.3f}, {:.3f}]".format(*interval(areas[-1]))
        if len(areas) > 1:
            cells[5] = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval(areas[-1] - areas[0]))
        table.append(cells)
    return table


def column(rows: Sequence[Any], name: str) -> np.ndarray:
    """Return one column of rows."""
    return np.array([row[name] for row in rows])


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True, help="Labelled items.")
@click.option("--bases", type=InputFolder, default="data/bases", show_default=True, help="Folder of base folders.")
@click.option("--items", "most", type=click.IntRange(2), default=10**6, help="Ask so many at most, drawn by --seed.")
@click.option("--max-length", type=click.IntRange(64), default=1400, show_default=True, help="Tokens of a prompt.")
@options_of(PromptSettings, "prompt")
@save_option
def main(labelled: Path, bases: Path, most: int, max_length: int, prompt: PromptSettings, save: Path | None) -> None:
    """Print the table of the ways of asking, three rows a rung."""
    items = read_rows(labelled, LABELLED).to_pylist()
    items = random.Random(prompt.seed).sample(items, most) if most < len(items) else items
    references = np.array([ANSWERS.index(item["label"]) for item in items])
    sample = bootstrap([item["conversation"] for item in items], Draws(seed=0))
    share = f"{100 * (references == NEEDED).mean():.1f} %"
    lines = [f"| {' | '.join(HEADS)} |", f"|---|---|{'---:|' * (len(HEADS) - 2)}"]
    for rung in read_rungs(bases, sorted(path.parent.name for path in bases.glob("*/rung.json"))).dense:
        for cells in cells_of(ask(bases / rung.key, items, prompt, max_length), references, sample):
            lines.append(f"| {' | '.join([rung.key, *cells])} |")
            click.echo(lines[-1], err=True)
    text = "\n".join([f"{len(items):,} items, {share} of them needed.", "", *lines])
    publish(save, __spec__.name, text, known(labelled, bases))


if __name__ == "__main__":
    main()
