r"""Print what the whole graph found, and write the same as Markdown.

Example:
    python -m stages.summarize --questions metrics/questions.json --annotation metrics/annotation.json \
        --calibration metrics/calibration.json --models metrics/models.json --out metrics/summary.md
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from chatladder.evaluation.figures import short_count
from chatladder.io.console import NOTHING_KEPT, SETTINGS, DataError, InputFile, OutputFile, example, stoppable
from chatladder.io.files import read_json, whole_file

SHOWN = ("precision", "recall", "f1", "macro_f1")
HEADER = (
    "rung",
    "parameters",
    *(f"{kind} {name}" for kind in ("vanilla", "tuned") for name in ("P", "R", "F1", "macro-F1")),
    "macro-F1 gain [95 %]",
)


class Metrics(NamedTuple):
    """A metrics file and where it was read from, for errors that name it."""

    path: Path
    values: dict[str, Any]

    def __call__(self, *keys: str) -> Any:
        """The value under nested keys.

        Raises:
            DataError: If it is not there.
        """
        value: Any = self.values
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise DataError(f"{self.path}: expected a value {'.'.join(keys)}. Run the stage that writes it again.")
            value = value[key]
        return value


def read_metrics(path: Path) -> Metrics:
    """Read one metrics file.

    Raises:
        DataError: If it is not a JSON object.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(values).__name__}.")
    return Metrics(path, values)


def model_rows(models: Metrics) -> list[tuple[str, ...]]:
    """One row of the table per rung, sizes ascending, then the always-needed floor."""
    rungs = [key for key, value in models.values.items() if isinstance(value, dict) and key != "floor"]
    rungs.sort(key=lambda key: (models(key, "params"), key))
    rows = []
    for key in rungs:
        scores = [f"{models(key, kind, name):.3f}" for kind in ("vanilla", "tuned") for name in SHOWN]
        gain = with_interval(models, key, "gain", "macro_f1")
        rows.append((key, short_count(models(key, "params")), *scores, gain))
    floor = [f"{models('floor', name):.3f}" for name in SHOWN]
    return [*rows, ("always needed", "", *floor, *floor, "")]


def with_interval(metrics: Metrics, *keys: str) -> str:
    """A signed value with its interval, as ``+0.123 [+0.081, +0.165]``; one that is null is not defined."""
    *parents, name = keys
    value, low, high = (metrics(*parents, name + end) for end in ("", "_lo", "_hi"))
    if value is None:
        return "not defined"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def data_lines(questions: Metrics, annotation: Metrics, models: Metrics) -> Iterator[str]:
    """What the scores rest on: counts from raw lines to test items, and how far annotators agree."""
    labelled = annotation("needed") + annotation("not_needed")
    kappa = annotation("kappa")
    agreement = "kappa not defined" if kappa is None else f"kappa {kappa:.2f}"
    yield (
        f"{questions('raw_lines'):,} raw lines, {questions('questions'):,} questions, {labelled:,} labelled "
        f"in {annotation('round')} round(s) ({agreement}, {annotation('disagreed'):,} disagreed, "
        f"{annotation('orphaned'):,} orphaned)."
    )
    items, needed = models("test_items"), models("test_needed")
    yield f'Scores are on {items:,} test items, which no model was trained on; {needed / items:.1%} "needed".'


def slope_lines(calibration: Metrics) -> Iterator[str]:
    """Growth of the untouched models' scores with size, as answered and centred."""
    for title, parents in (("as answered", ()), ("centred", ("centred",))):
        precision, macro_f1 = (
            with_interval(calibration, *parents, metric, "slope") for metric in ("precision", "macro_f1")
        )
        yield f"Untouched models per doubling, {title}: precision {precision}, macro-F1 {macro_f1}."


def gate_line(calibration: Metrics) -> str:
    """The gate's verdict on the labels, and the pair of sizes that speaks most against them."""
    line = f"The labels against the scaling law (precision of untouched models): {calibration('gate')}"
    pair = calibration("precision", "worst_pair")
    if pair is None or pair["larger"] is None:
        return f"{line}."
    difference = with_interval(calibration, "precision", "worst_pair", "difference")
    return f"{line}; {pair['larger']} minus {pair['smaller']} is {difference}."


def text_table(rows: list[tuple[str, ...]]) -> str:
    """The table for a terminal: two header lines, figures right-aligned."""
    kinds = ("", "", "vanilla", "", "", "", "tuned", "", "", "", "")
    names = tuple(name.removeprefix("vanilla ").removeprefix("tuned ") for name in HEADER)
    table = [kinds, names, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    lines = []
    for row in table:
        figures = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *figures]).rstrip())
    lines.insert(2, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def markdown_table(rows: list[tuple[str, ...]]) -> str:
    """The same table in Markdown."""
    marks = ("---", *("---:" for _ in HEADER[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEADER, marks, *rows))


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--questions", type=InputFile, required=True, help="Counts that pick_questions wrote (JSON).")
@click.option("--annotation", type=InputFile, required=True, help="Agreement that label wrote (JSON).")
@click.option("--calibration", type=InputFile, required=True, help="Slopes that calibrate wrote (JSON).")
@click.option("--models", type=InputFile, required=True, help="Scores that evaluate wrote (JSON).")
@click.option("--out", type=OutputFile, required=True, help="Markdown to write.")
@stoppable(NOTHING_KEPT)
def main(questions: Path, annotation: Path, calibration: Path, models: Path, out: Path) -> None:
    """Print the table of scores per rung, and write it as Markdown."""
    model_metrics, calibration_metrics = read_metrics(models), read_metrics(calibration)
    rows = model_rows(model_metrics)
    lines = [
        *data_lines(read_metrics(questions), read_metrics(annotation), model_metrics),
        *slope_lines(calibration_metrics),
        gate_line(calibration_metrics),
    ]
    with whole_file(out) as temporary:
        temporary.write_text("\n\n".join(["# Summary", markdown_table(rows), *lines]) + "\n", encoding="utf-8")
    click.echo("\n".join(["", text_table(rows), "", *lines, ""]))
    click.echo(f"{out}: {len(rows) - 1} rungs")


if __name__ == "__main__":
    main()
