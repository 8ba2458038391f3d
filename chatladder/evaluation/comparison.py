"""Every rung before and after LoRA on the test items: scores, gains, and the tables that plots are drawn from."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chatladder.evaluation.predictions import Items, Predictions, always_needed, centre, read_predictions
from chatladder.evaluation.rungs import Rung
from chatladder.evaluation.scores import METRICS, Bootstrap, Floats, interval, rounded, scores
from chatladder.io.console import DataError
from chatladder.io.files import read_json, whole_folder, write_csv
from chatladder.vocabulary import ANSWERS, POSITIVE

#: Metrics whose change from vanilla to tuned is reported.
GAINS = ("precision", "recall", "f1", "macro_f1", "balanced_accuracy")
#: Scores that curves over experiments show.
TUNING_METRICS = ("f1", "macro_f1")
#: Scores of the validation items, by which settings are chosen.
VALIDATION_METRICS = ("macro_f1", "auroc")
#: Keys of ``metrics/models.json`` that are not rungs.
RESERVED = ("floor", "test_items", "test_needed")

SCALING_COLUMNS = ("rung", "params", "kind", "metric", "value", "lo", "hi")
CONFUSION_COLUMNS = ("rung", "params", "kind", "reference", "answer", "items", "share")
#: Columns before those of the settings, one each.
TUNING_COLUMNS = ("rung", "params", "split", "items", "metric", "value", "lo", "hi", "settings")
LOSS_COLUMNS = ("rung", "step", "loss", "deciding_loss")
#: Where train writes them in a rung's folder of curves: its settings, and the losses by step.
SETTINGS = "settings.json"
TRAIN, VALIDATION = Path("plots/metrics/train"), Path("plots/metrics/validation")


class Scored(NamedTuple):
    """One model's answers to the test items and their metrics, each of shape ``(1 + draws,)``."""

    predictions: Predictions
    draws: dict[str, Floats]

    def metrics(self) -> dict[str, float | None]:
        """Return every metric with its interval, and the share of answers that could not be read.

        AUROC is None where the model gave too few probabilities to rank items by.
        """
        values: dict[str, float | None] = {}
        for metric, draws in self.draws.items():
            values |= interval(draws).named(metric)
        if not self.predictions.has_probabilities:
            values |= dict.fromkeys(("auroc", "auroc_lo", "auroc_hi"))
        return {**values, "unparsed": rounded(1 - self.predictions.parsed.mean())}


class Compared(NamedTuple):
    """A rung before LoRA ("vanilla"), before it but "centred", and after it ("tuned"); the last on validation, too."""

    rung: Rung
    kinds: dict[str, Scored]
    validation: dict[str, float]


def check_names(keys: Sequence[str], metrics: Path) -> None:
    """Refuse a rung that is called like another part of the metrics.

    Raises:
        DataError: If there is one.
    """
    if taken := {*keys} & {*RESERVED}:
        raise DataError(f"rung {min(taken)}: this name is taken by another part of {metrics}; rename the rung.")


def score(items: Items, sample: Bootstrap, predictions: Predictions) -> Scored:
    """Return all metrics of one model under every draw."""
    draws = scores(items.references, predictions.answers, predictions.log_odds, sample.clusters, sample.weights)
    return Scored(predictions, draws)


def compare(items: Items, chosen_on: Items, sample: Bootstrap, rung: Rung, vanilla: Path, tuned: Path) -> Compared:
    """Score one rung's predictions on the same items and draws.

    Args:
        items: The test items.
        chosen_on: The validation items.
        sample: The draws of test items.
        rung: The rung.
        vanilla: Folder of predictions before LoRA.
        tuned: Folder of predictions after it.

    Raises:
        DataError: If a prediction of a test or validation item is missing.
    """
    before = read_predictions(vanilla / f"{rung.key}.parquet", items.ids)
    after = read_predictions(tuned / f"{rung.key}.parquet", items.ids)
    kinds = {"vanilla": before, "centred": centre(before), "tuned": after}
    validation = validation_scores(chosen_on, tuned / f"{rung.key}.parquet") if chosen_on.ids else {}
    return Compared(rung, {kind: score(items, sample, answers) for kind, answers in kinds.items()}, validation)


def validation_scores(items: Items, path: Path) -> dict[str, float]:
    """Return a tuned rung's scores on the validation items, by which settings are chosen, without intervals.

    Those that are undefined, as AUROC where all items have one label, are left out.
    """
    answers = read_predictions(path, items.ids)
    whole = np.zeros(len(items.ids), dtype=np.int64), np.ones((1, 1))
    values = scores(items.references, answers.answers, answers.log_odds, *whole)
    chosen = {metric: float(values[metric][0]) for metric in VALIDATION_METRICS}
    return {metric: rounded(value) for metric, value in chosen.items() if np.isfinite(value)}


def floor_of(items: Items, sample: Bootstrap) -> Scored:
    """Return the scores of answering "needed" to everything."""
    return score(items, sample, always_needed(len(items.ids)))


def models_metrics(items: Items, chosen_on: Items, compared: Sequence[Compared], floor: Scored) -> dict[str, Any]:
    """Return what ``metrics/models.json`` holds: a rung's three kinds and its gain, then the floor.

    ``validation`` under ``tuned`` is what settings are chosen by; all else is on the test items.
    """
    metrics: dict[str, Any] = {}
    for rung, kinds, validation in compared:
        gain: dict[str, float] = {}
        for metric in GAINS:
            gain |= interval(kinds["tuned"].draws[metric] - kinds["vanilla"].draws[metric]).named(metric)
        by_kind: dict[str, Any] = {kind: scored.metrics() for kind, scored in kinds.items()}
        by_kind["tuned"]["validation"] = {**validation, "items": len(chosen_on.ids)}
        metrics[rung.key] = {"params": rung.params, **by_kind, "gain": gain}
    needed = int((items.references == ANSWERS.index(POSITIVE)).sum())
    return {**metrics, "floor": floor.metrics(), "test_items": len(items.ids), "test_needed": needed}


def write_plots(
    folder: Path, items: Items, chosen_on: Items, compared: Sequence[Compared], floor: Scored, curves: Path | None
) -> None:
    """Write ``scaling.csv`` and ``confusion.csv``, and with curves ``tuning.csv`` and ``loss.csv``.

    Raises:
        DataError: If a rung's folder of curves cannot be used.
    """
    with whole_folder(folder, "scaling.csv", "confusion.csv", "tuning.csv", "loss.csv") as temporary:
        write_csv(temporary / "scaling.csv", SCALING_COLUMNS, _scaling_rows(compared, floor))
        write_csv(temporary / "confusion.csv", CONFUSION_COLUMNS, _confusion_rows(items, compared))
        if curves:
            settings = {each.rung.key: read_settings(curves / each.rung.key) for each in compared}
            names = tuple(dict.fromkeys(name for of_rung in settings.values() for name in of_rung))
            tuning = (
                row
                for each in compared
                for row in _tuning_rows(each, curves / each.rung.key, settings[each.rung.key], names, chosen_on)
            )
            write_csv(temporary / "tuning.csv", (*TUNING_COLUMNS, *names), tuning)
            write_csv(temporary / "loss.csv", LOSS_COLUMNS, _loss_rows(compared, curves))


def _scaling_rows(compared: Sequence[Compared], floor: Scored) -> Iterator[tuple[Any, ...]]:
    """One row per rung, kind and metric; the floor is repeated at every size, so that it draws as a line."""
    for rung, kinds, _ in compared:
        for kind, scored in {**kinds, "always needed": floor}.items():
            values = scored.metrics()
            for metric in METRICS:
                yield (*rung, kind, metric, values[metric], values[f"{metric}_lo"], values[f"{metric}_hi"])


def _confusion_rows(items: Items, compared: Sequence[Compared]) -> Iterator[tuple[Any, ...]]:
    """One row per kind, rung, label and answer: how many test items, and which share of that label's."""
    for kind in ("vanilla", "tuned"):
        for rung, kinds, _ in compared:
            cells = np.zeros((2, 3), dtype=np.int64)
            np.add.at(cells, (items.references, kinds[kind].predictions.answers), 1)
            for (reference, answer), count in np.ndenumerate(cells):
                share = rounded(count / cells[reference].sum())
                yield (*rung, kind, ANSWERS[reference], ANSWERS[answer], int(count), share)


def _tuning_rows(
    compared: Compared, curves: Path, settings: Mapping[str, str], names: Sequence[str], chosen_on: Items
) -> Iterator[tuple[Any, ...]]:
    """The rung's loss and scores on validation, to choose by, and scores on the test, with what it was trained with."""
    rung, scored = compared.rung, compared.kinds["tuned"]
    words = "; ".join(f"{name}={value}" for name, value in settings.items())
    values = tuple(settings.get(name, "") for name in names)
    loss = validation_loss(curves, settings)
    if loss is not None:
        yield (*rung, "validation", "", "deciding_loss", rounded(loss), "", "", words, *values)
    for metric, value in compared.validation.items():
        yield (*rung, "validation", len(chosen_on.ids), metric, value, "", "", words, *values)
    for metric in TUNING_METRICS:
        yield (*rung, "test", len(scored.predictions.answers), metric, *interval(scored.draws[metric]), words, *values)


def _loss_rows(compared: Sequence[Compared], curves: Path) -> Iterator[tuple[Any, ...]]:
    """Each rung's training loss by step, over all tokens of the answer and of the token that decides."""
    for rung, _, _ in compared:
        folder = curves / rung.key / TRAIN
        deciding = dict(_read_curve(folder / "deciding_loss.tsv"))
        for step, loss in _read_curve(folder / "loss.tsv"):
            yield rung.key, step, loss, deciding.get(step, "")


def read_settings(folder: Path) -> dict[str, str]:
    """Return what a rung was trained with, as texts, in the order of the file.

    Raises:
        DataError: If train did not write it, or something else did.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise DataError(f"{path}: expected what the rung was trained with, got no file. Run its train stage again.")
    settings = read_json(path)
    if not isinstance(settings, dict) or not settings:
        raise DataError(f"{path}: expected a JSON object of settings. Run the rung's train stage again.")
    return {name: _text(value) for name, value in settings.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def validation_loss(folder: Path, settings: Mapping[str, str]) -> float | None:
    """Return the loss of the token that decides (nats) on the validation rows, of the weights that were kept.

    They are those of the last epoch, or of the best one where training may stop early.

    Returns:
        The loss; None without validation rows.

    Raises:
        DataError: If the file holds something else.
    """
    losses = [loss for _, loss in _read_curve(folder / VALIDATION / "deciding_loss.tsv")]
    if not losses:
        return None
    return losses[-1] if settings.get("early_stopping_patience") in (None, "0") else min(losses)


def _read_curve(path: Path) -> list[tuple[int, float]]:
    """Steps and values of one curve, named like its file; none where training logged none."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        try:
            return [(int(row["step"]), float(row[path.stem])) for row in csv.DictReader(lines, delimiter="\t")]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a column {path.stem} of numbers. Run train again.") from error
