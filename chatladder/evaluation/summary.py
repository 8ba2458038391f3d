"""The result of the whole pipeline: a table of scores, the data behind them, the funnel from raw lines to labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.evaluation.above import BASELINES, not_above
from chatladder.evaluation.label_sets import lead
from chatladder.evaluation.pairs import FEWEST_PAIRS
from chatladder.evaluation.scores import FEWEST_DRAWN, rounded
from chatladder.evaluation.threshold import ARGMAX, THRESHOLDS
from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.io.rows import SPLITS
from chatladder.vocabulary import IS_BINARY, KINDS, LABELS, SCORED

#: Metrics of tuned rungs in the columns before macro-F1, and their names; balanced accuracy is the macro recall.
_SHOWN = (
    {"auroc": "AUROC", "precision": "P", "recall": "R", "f1": "F1"}
    if IS_BINARY
    else {"auroc": "AUROC", "accuracy": "accuracy", "macro_precision": "macro-P", "balanced_accuracy": "macro-R"}
)
_HEADER = (
    "model",
    "parameters",
    "untouched AUROC",
    *(f"tuned {name}" for name in (*_SHOWN.values(), "macro-F1")),
    "above baselines [95 %]",
    "pairs right",
)
#: The mark after a rung that is not above the best baseline.
_MARK = " *"
_UNITS = (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**3))

FUNNEL_COLUMNS = ("place", "step", "unit", "count", "share", "left_out")
#: Split -> the step of the funnel.
_PURPOSES = {"train": "to train", "validation": "to validate", "test": "to test"}
#: Reason -> the step whose turns remain after it, and the words that follow its count.
_STEPS = {"not_text": ("turns of text", "without text"), "too_short": ("long enough", "too short")}
_JOINED = {
    "below_majority": "not passed by most judges",
    "below_mean": "below the judges' mean threshold",
    "not_drawn": "not drawn",
}
_UNDECIDED = {**{name: KINDS[name].words for name in LABELS if name not in SCORED}, "disagreed": "disagreed"}


class Metrics(NamedTuple):
    """The content of a metrics file, with its path for errors."""

    path: Path
    values: dict[str, Any]

    def __call__(self, *keys: str) -> Any:
        """Return the value under nested keys.

        Raises:
            DataError: If there is no such value.
        """
        value: Any = self.values
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise DataError(f"{self.path}: expected a value {'.'.join(keys)}. Run the stage that writes it again.")
            value = value[key]
        return value

    def interval(self, *keys: str) -> str:
        """Return a signed value with its interval, as ``+0.123 [+0.081, +0.165]``; null is "not defined"."""
        *parents, name = keys
        value, low, high = (self(*parents, name + end) for end in ("", "_lo", "_hi"))
        if value is None:
            return "not defined"
        return f"{value:+.3f}" if low is None else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def read_metrics(path: Path) -> Metrics:
    """Read one metrics file.

    Raises:
        DataError: If the file is missing, or is not a JSON object.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected metrics, got no file. Run the stage that writes it.")
    values = read_json(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(values).__name__}.")
    return Metrics(path, values)


def _rungs(models: Metrics) -> list[str]:
    rungs = [key for key, value in models.values.items() if isinstance(value, dict) and "params" in value]
    return sorted(rungs, key=lambda key: (models(key, "params"), key))


def model_rows(models: Metrics) -> list[tuple[str, ...]]:
    """Return the header, one row per rung by ascending size, then the floor and the other baselines.

    A rung that is not above the best baseline is marked. Pairs have a column if there are enough of them.
    """
    rows = [_HEADER]
    for key in _rungs(models):
        untouched, above = _share(models(key, "vanilla", "auroc")), models.interval(key, "above_baselines", "macro_f1")
        scores, pairs = _figures(models, key, "tuned")
        name = key + (_MARK if not_above(models(key)) else "")
        rows.append((name, short_count(models(key, "params")), untouched, *scores, above, pairs))
    for name, keys in {"floor": ("floor",), **{name: ("baselines", name) for name in models("baselines")}}.items():
        scores, pairs = _figures(models, *keys)
        rows.append((BASELINES.get(name, name), "", "", *scores, "", pairs))
    has_pairs = models.values.get("test_pairs", 0) >= FEWEST_PAIRS
    return rows if has_pairs else [row[:-1] for row in rows]


def _figures(models: Metrics, *keys: str) -> tuple[list[str], str]:
    """Return the scores as the table shows them, macro-F1 with its spread over seeds, and the share of pairs right."""
    values = models(*keys)
    spread = f" ± {values['macro_f1_sd']:.3f}" if "macro_f1_sd" in values else ""
    return [*(_share(models(*keys, name)) for name in _SHOWN), f"{models(*keys, 'macro_f1'):.3f}{spread}"], _share(
        values.get("pairs_right")
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def footnotes(models: Metrics) -> Iterator[str]:
    """Yield notes on the marked rungs, the gains, the thresholds of tuned answers, and the column of pairs."""
    marked = {key: not_above(models(key)) for key in _rungs(models)}
    if rungs := [rung for rung, best in marked.items() if best]:
        yield f"{_MARK.strip()} not above the best baseline: {', '.join(rungs)}."
    gains = [f"{key} {models.interval(key, 'gain', 'auroc')}" for key in _rungs(models)]
    yield f"LoRA's gain in AUROC, which needs no threshold: {', '.join(gains)}."
    tuned = {key: models(key, "tuned") for key in _rungs(models)}
    decided = [key for key, scores in tuned.items() if {*scores.get(THRESHOLDS, {}).values()} - {None}]
    if by_argmax := [f"{key} {tuned[key][ARGMAX]:.3f}" for key in decided]:
        yield (
            "Tuned answers are decided at thresholds that are chosen on validation items. Macro-F1 of the most "
            f"probable options without them: {', '.join(by_argmax)}."
        )
    if (pairs := models.values.get("test_pairs", 0)) >= FEWEST_PAIRS:
        yield (
            f"Pairs right: of {pairs:,} pairs of test questions in the same words, of which one needs the history. "
            "Guessing gets a quarter right, whoever ignores the history none."
        )


def summary_lines(questions: Metrics, annotation: Metrics, scaling: Metrics, models: Metrics) -> Iterator[str]:
    """Yield lines on the data behind the scores, the label sets, and the verdict on the labels with its slopes."""
    kappa = annotation("kappa")
    agreement = "kappa not defined" if kappa is None else f"kappa {kappa:.2f}"
    yield (
        f"{questions('raw_lines'):,} raw lines, {questions('questions'):,} questions, "
        f"{sum(annotation(name) for name in SCORED):,} labelled in {annotation('round')} round(s) ({agreement}, "
        f"{annotation('disagreed'):,} disagreed, {annotation('orphaned'):,} orphaned)."
    )
    items = models("test_items")
    counts = {SCORED[0]: models("test_needed")} if IS_BINARY else models("test_labels")
    shares = ", ".join(f'{count / items:.1%} "{KINDS[name].words}"' for name, count in counts.items())
    yield f"Scores are on {items:,} test items, which no model was trained on; {shares}."
    seeds = {models(key, "tuned").get("seeds", 1) for key in _rungs(models)}
    if max(seeds, default=1) > 1:
        count = "-".join(map(str, sorted(seeds)))
        yield f"They are means over {count} seeds (± their standard deviation); intervals hold seeds and conversations."
    conversations = models.values.get("test_conversations", FEWEST_DRAWN)
    if conversations < FEWEST_DRAWN:
        yield f"Too few conversations for an interval ({conversations} of at least {FEWEST_DRAWN})."
    for title, found in scaling("label_sets").items():
        name = lead({name: each["power"] for name, each in found.items()}) if found else ""
        if name and scaling("label_sets", title, name, "points") is not None:
            value, low, high = (found[name][f"points{end}"] for end in ("", "_lo", "_hi"))
            first, second = title.split(" against ")
            yield (
                f"Errors in 100 labels, {second} less {first}: {value:+.1f} [{low:+.1f}, {high:+.1f}], by the same "
                f"{name.replace('_', '-')} models (power to find 15: {found[name]['power']:.2f})."
            )
    if scaling("auroc", "slope") is None:
        yield "The labels against the scaling law: not checked, since it takes untouched models of two sizes or more."
        return
    yield (
        f"The labels against the scaling law: {scaling('gate')}. AUROC of {scaling('models')} untouched models "
        f"{scaling.interval('auroc', 'slope')} per doubling; precision as answered "
        f"{scaling.interval('precision', 'slope')}."
    )


def text_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return the table for a terminal: two header lines, figures right-aligned.

    Args:
        rows: The header first.
    """
    kinds = [name.split()[0] if name.startswith(("untouched ", "tuned ")) else "" for name in rows[0]]
    above = [kind if kind not in kinds[:place] else "" for place, kind in enumerate(kinds)]
    names = [name.removeprefix(f"{kind} ") for name, kind in zip(rows[0], kinds, strict=True)]
    table = [above, names, *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        figures = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *figures]).rstrip())
    lines.insert(2, "-" * max(map(len, lines)))
    return "\n".join(lines)


def markdown_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return the same table in Markdown."""
    marks = ("---", *("---:" for _ in rows[0][1:]))
    return "\n".join(f"| {escaped(' | '.join(row))} |" for row in (rows[0], marks, *rows[1:]))


def escaped(text: str) -> str:
    """Return a text with the mark escaped for Markdown."""
    return text.replace("*", "\\*")


def short_count(value: int) -> str:
    """Return a count to three digits: 17.0 k, 1.12 M, 32.5 B."""
    for unit, size in _UNITS:
        if value >= size:
            share = value / size
            return f"{share:.{2 if share < 10 else 1 if share < 100 else 0}f} {unit}"
    return str(value)


def funnel_rows(questions: Metrics, annotation: Metrics) -> Iterator[tuple[Any, ...]]:
    """Yield rows of ``FUNNEL_COLUMNS``, from raw lines to labels, with the counts left out at each step.

    ``share`` is relative to the step before, and for a split relative to all labels. Steps without a count are skipped
    (a chat that was imported as turns has no lines).

    Args:
        questions: ``metrics/questions.json``.
        annotation: ``metrics/annotation.json``.

    Raises:
        DataError: If a count is missing.
    """
    place = before = 0
    for place, (step, unit, count, left_out) in enumerate(_steps(questions, annotation)):
        yield place, step, unit, count, rounded(count / before) if before else "", left_out
        before = count
    for number, split in enumerate(SPLITS, start=1):
        count = annotation(split)
        yield place + number, _PURPOSES[split], "splits", count, rounded(count / before), ""


def _steps(questions: Metrics, annotation: Metrics) -> Iterator[tuple[str, str, int, str]]:
    """Yield step, unit, count, and in words the turns or questions left out."""
    counts = questions.values
    if "raw_lines" in counts:
        yield "raw lines", "lines", counts["raw_lines"], ""
    if "messages" in counts:
        yield "messages", "messages", counts["messages"], _left_out(counts.get("skipped", 0), "no message")
    left = questions("turns")
    yield "turns", "turns", left, _left_out(counts.get("joined", 0), "joined to the turn before")
    reasons = [name for name in questions("left_out") if not name.startswith("skipped_")]
    for reason in reasons:
        left -= questions("left_out", reason)
        judge = reason.removeprefix("below_")
        step, words = _STEPS.get(reason, (f"passed by {judge}", _JOINED.get(reason, f"not passed by {judge}")))
        unit = "turns"
        if reason == reasons[-1]:
            step = unit = "questions"
        yield step, unit, left, _left_out(questions("left_out", reason), words)
    answered = annotation("items")
    yield "answered", "questions", answered, _left_out(questions("questions") - answered, "without an answer")
    undecided = ", ".join(filter(None, (_left_out(annotation(name), words) for name, words in _UNDECIDED.items())))
    yield "labelled", "labels", sum(annotation(name) for name in SCORED), undecided


def _left_out(count: int, words: str) -> str:
    return f"{count:,} {words}" if count > 0 else ""
