r"""Answers and speed in bfloat16 compared with float32 on this machine's CPU.

Example:
    python -m benchmarks.cpu_dtype --base data/bases/qwen_0_5b --questions data/labelled.parquet --rows 100

Each base scores the same questions in both types, in one process. The types take turns on parts of the questions, and
each part begins with the other type, so that other load on the machine slows both. The first question warms up. Tokens
are those of the prompts, the shared prefix counted in each. The AUROC is that of the log-odds of "needed", if questions
are labelled. Prints a Markdown table.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow.parquet as pq

from benchmarks.results import known, publish, save_option
from chatladder.io.console import SETTINGS, InputFile, InputFolder, bar, example
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, QUESTIONS, read_rows
from chatladder.models.prompts import Prompt, PromptSettings, render_row
from chatladder.vocabulary import ANSWERS

TYPES = ("float32", "bfloat16")
HEADS = ("rung", "numbers", "tokens/s", "speed", "AUROC", "other answers", "log-odds differ by at most", "on average")


class Measured(NamedTuple):
    """Times and scores of one side.

    Attributes:
        seconds: Seconds of each part.
        scores: Log-probabilities of the options in nats, shape (n, 3).
    """

    seconds: list[float]
    scores: np.ndarray

    @property
    def odds(self) -> np.ndarray:
        """The log-odds of "needed" against "not needed", shape (n,)."""
        odds: np.ndarray = self.scores[:, ANSWERS.index("needed")] - self.scores[:, ANSWERS.index("not_needed")]
        return odds


def take_turns(
    sides: Mapping[str, Callable[[Sequence[Prompt]], np.ndarray]], prompts: Sequence[Prompt], parts: int
) -> dict[str, Measured]:
    """Let the sides score the prompts part by part, in turns; each part begins with another side.

    Args:
        sides: Name -> function that scores prompts, shape (n, 3).
        prompts: The prompts, at least as many as parts.
        parts: The number of parts; prompt ``i`` belongs to part ``i`` modulo this.
    """
    names = list(sides)
    found = {name: Measured([], np.zeros((len(prompts), len(ANSWERS)))) for name in names}
    for side in sides.values():
        side(prompts[:1])
    for part in bar("part", range(parts)):
        for name in names[part % len(names) :] + names[: part % len(names)]:
            begun = perf_counter()
            found[name].scores[part::parts] = sides[name](prompts[part::parts])
            found[name].seconds.append(perf_counter() - begun)
    return found


def read_items(path: Path, rows: int, seed: int) -> list[Any]:
    """Return ``rows`` questions, drawn at random; with labels, if they have any."""
    schema = LABELLED if "label" in pq.read_schema(path).names else QUESTIONS
    items = read_rows(path, schema).to_pylist()
    return Random(seed).sample(items, rows) if rows < len(items) else items


def auroc_cell(items: Sequence[Any], odds: np.ndarray) -> str:
    """Return the AUROC of log-odds; empty if no item is labelled."""
    from sklearn.metrics import roc_auc_score

    is_needed = [item["label"] == "needed" for item in items if "label" in item]
    return f"{roc_auc_score(is_needed, odds):.3f}" if len(set(is_needed)) == 2 else ""


def load_average() -> str:
    """Return the load of the machine in the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def lines_of(base: Path, items: Sequence[Any], prompts: Sequence[Prompt], max_length: int, parts: int) -> list[str]:
    """Measure one base; return its two lines of the table."""
    import torch

    from chatladder.models.encoding import encode_prompts
    from chatladder.models.loading import load
    from chatladder.models.scoring import score

    models = {name: load(base, dtype=getattr(torch, name)) for name in TYPES}
    sides: dict[str, Callable[[Sequence[Prompt]], np.ndarray]] = {
        name: lambda some, pair=pair: score(pair[0], pair[1], some, max_length)[0] for name, pair in models.items()
    }
    found = take_turns(sides, prompts, parts)
    rows, _ = encode_prompts(models[TYPES[0]][1], [prompt.instruction for prompt in prompts], max_length)
    exact, lines = found[TYPES[0]], []
    for name, each in found.items():
        apart = np.abs(each.odds - exact.odds)
        others = (each.scores.argmax(axis=1) != exact.scores.argmax(axis=1)).sum()
        cells = [base.name, name, f"{sum(map(len, rows)) / sum(each.seconds):,.0f}"]
        cells += [f"{sum(exact.seconds) / sum(each.seconds):.2f}", auroc_cell(items, each.odds)]
        cells += ["", "", ""] if each is exact else [f"{others}", f"{apart.max():.2f}", f"{apart.mean():.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", "bases", type=InputFolder, multiple=True, required=True, help="Base folder; give several.")
@click.option("--questions", type=InputFile, required=True, help="Questions, labelled or not (parquet).")
@click.option("--rows", type=click.IntRange(2), default=100, show_default=True, help="Questions drawn.")
@click.option("--parts", type=click.IntRange(1), default=4, show_default=True, help="Turns of each type.")
@click.option("--max-length", type=click.IntRange(64), default=1400, show_default=True, help="As for predict.")
@options_of(PromptSettings, "prompt")
@save_option
def main(
    bases: Sequence[Path],
    questions: Path,
    rows: int,
    parts: int,
    max_length: int,
    prompt: PromptSettings,
    save: Path | None,
) -> None:
    """Print speed, answers and AUROC of bases in float32 and in bfloat16."""
    import torch

    items = read_items(questions, rows, prompt.seed)
    prompts = [render_row(item, prompt) for item in items]
    lines = [f"| {' | '.join(HEADS)} |", f"| --- | --- |{' ---: |' * (len(HEADS) - 2)}"]
    before = load_average()
    for base in bases:
        lines += lines_of(base, items, prompts, max_length, min(parts, len(items)))
        click.echo("\n".join(lines[-2:]), err=True)
    setting = f"{len(items):,} questions, {torch.get_num_threads()} thread(s); {before} before, {load_average()} after."
    publish(save, __spec__.name, "\n".join([*lines, "", setting]), known(questions, *bases))


if __name__ == "__main__":
    main()
