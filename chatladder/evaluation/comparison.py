"""Every rung before and after LoRA on the test items: scores, gains, and the tables that plots are drawn from.

A score is the mean over the seeds that a rung was trained with. Baselines that cost next to nothing are scored on the
same items and draws: a tuned rung that is not above them was not worth training.

With more than two labels the most probable option is the answer: there are no thresholds and no contrast pairs.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.above import BASELINES
from chatladder.evaluation.calibration import NONE, Bin, Calibration, calibrate, calibration_error, reliability
from chatladder.evaluation.pairs import FEWEST_PAIRS, Pairs, contrast_pairs, pairs_right
from chatladder.evaluation.predictions import (
    CHEAP_BASELINES,
    WORD_BASELINES,
    Items,
    Predictions,
    always,
    centre,
    read_items,
    read_predictions,
    read_seeds,
    read_texts,
)
from chatladder.evaluation.rungs import Rung
from chatladder.evaluation.scores import (
    METRICS,
    NEEDED,
    NOT_NEEDED,
    SHORT,
    Bootstrap,
    Draws,
    Floats,
    Interval,
    OverSeeds,
    bootstrap,
    over_seeds,
    rounded,
    scores,
)
from chatladder.evaluation.threshold import ARGMAX, THRESHOLDS, choose, decide, is_enough
from chatladder.io.console import DataError
from chatladder.io.files import read_json, whole_folder, write_csv
from chatladder.vocabulary import ANSWERS, IS_BINARY, SCORED

#: Metrics whose change from vanilla to tuned is reported.
GAINS = tuple(metric for metric in METRICS if metric not in ("mcc", "unknown"))
#: Scores of the validation items, by which settings are chosen.
VALIDATION_METRICS = ("macro_f1", "auroc")
#: Keys of ``metrics/models.json`` that are not rungs.
RESERVED = ("floor", "baselines", "test_items", "test_needed", "test_labels", "test_conversations", "test_pairs")

SCALING_COLUMNS = ("rung", "params", "kind", "metric", "value", "lo", "hi")
CONFUSION_COLUMNS = ("rung", "params", "kind", "reference", "answer", "items", "share")
#: The columns before those of the settings, which have one column each.
TUNING_COLUMNS = ("rung", "params", "split", "items", "metric", "value", "lo", "hi", "settings")
RELIABILITY_COLUMNS = ("rung", "params", "kind", "p_needed", "share_needed", "items")
LOSS_COLUMNS = ("rung", "step", "loss", "deciding_loss")
#: The files of train in a rung's folder of curves: its settings, and the folders of losses by step.
SETTINGS = "settings.json"
TRAIN, VALIDATION = Path("plots/metrics/train"), Path("plots/metrics/validation")


class Exam(NamedTuple):
    """The test set: its items, bootstrap draws of their conversations, and the contrast pairs among them."""

    items: Items
    sample: Bootstrap
    pairs: Pairs

    @property
    def conversations(self) -> int:
        """The number of conversations."""
        return int(self.sample.weights.shape[1])

    @property
    def has_intervals(self) -> bool:
        """True if there are enough conversations to draw from."""
        return len(self.sample.weights) > 1


class Scored(NamedTuple):
    """The answers of one model by seed, and their metrics, each of shape ``(seeds, 1 + draws)``."""

    seeds: dict[int, Predictions]
    draws: dict[str, Floats]
    conversations: int

    @property
    def is_ranked(self) -> bool:
        """True if every seed gave enough probabilities to rank items by."""
        return all(each.has_probabilities for each in self.seeds.values())

    def of(self, metric: str) -> OverSeeds:
        """Return a metric's mean over seeds, its interval clipped to the range of the metric."""
        (value, low, high), sd = over_seeds(self.draws[metric], self.conversations)
        least = -1.0 if metric == "mcc" else 0.0
        return OverSeeds(Interval(value, max(low, least), min(high, 1.0)), sd)

    def metrics(self) -> dict[str, float | None]:
        """Return every metric with its interval and spread, and the share of unparsed answers.

        AUROC is None if a seed gave too few probabilities to rank items by, and ``pairs_right`` if there are too few
        pairs.
        """
        values: dict[str, float | None] = {}
        for metric in self.draws:
            values |= self.of(metric).named(metric)
        if not self.is_ranked:
            values |= _without_auroc(values)
        if "pairs_right" not in self.draws:
            values |= dict.fromkeys(("pairs_right", "pairs_right_lo", "pairs_right_hi"))
        unread = 1 - np.mean([each.parsed for each in self.seeds.values()])
        return {**values, "unparsed": rounded(float(unread)), "seeds": len(self.seeds)}


def _without_auroc(values: Mapping[str, float | None]) -> dict[str, None]:
    """Return None for each AUROC figure among metrics, since too few probabilities leave it undefined."""
    return {name: None for name in values if name.startswith("auroc")}


class Compared(NamedTuple):
    """A rung before and after LoRA.

    Attributes:
        rung: The rung.
        kinds: Its scores before LoRA as answered ("vanilla") and "centred", and after LoRA ("tuned").
        validation: The tuned rung's scores on the validation items, means over seeds.
        thresholds: Seed -> the log-odds at which its tuned answers are decided; None if the most probable option is
            the answer.
        reliability: Its tuned probabilities of the test items in bins, all seeds pooled: "as answered", and
            "calibrated" on the validation items if there are enough of them.
    """

    rung: Rung
    kinds: dict[str, Scored]
    validation: dict[str, float]
    thresholds: dict[int, float | None]
    reliability: dict[str, list[Bin]]

    def gain(self, metric: str) -> OverSeeds:
        """Return tuned minus vanilla; each seed is paired with the same vanilla seed, or else with the vanilla mean."""
        tuned, vanilla = self.kinds["tuned"], self.kinds["vanilla"]
        before = dict(zip(vanilla.seeds, vanilla.draws[metric], strict=True))
        mean = vanilla.draws[metric].mean(axis=0)
        after = zip(tuned.seeds, tuned.draws[metric], strict=True)
        return over_seeds(np.array([drawn - before.get(seed, mean) for seed, drawn in after]), tuned.conversations)

    def above(self, baseline: Scored) -> OverSeeds:
        """Return the paired difference of the tuned rung's macro-F1 and a baseline's."""
        tuned = self.kinds["tuned"]
        return over_seeds(tuned.draws["macro_f1"] - baseline.draws["macro_f1"], tuned.conversations)


def check_names(keys: Sequence[str], metrics: Path) -> None:
    """Refuse a rung whose name is a reserved key of the metrics.

    Raises:
        DataError: If a rung has such a name.
    """
    if taken := {*keys} & {*RESERVED}:
        raise DataError(f"rung {min(taken)}: this name is taken by another part of {metrics}; rename the rung.")


def exam_of(labelled: Path, draws: Draws) -> Exam:
    """Return the test set.

    Args:
        labelled: Rows of ``LABELLED``.
        draws: The settings of the bootstrap.

    Raises:
        DataError: If fewer than two labels occur among the test items.
    """
    items = read_items(labelled, "test")
    pairs = contrast_pairs(items, read_texts(labelled, items.ids))
    return Exam(items, bootstrap(items.conversations, draws), pairs)


def score(exam: Exam, seeds: Mapping[int, Predictions]) -> Scored:
    """Return all metrics of one model under every draw, for each of its seeds."""
    items, sample = exam.items, exam.sample
    by_seed = []
    for each in seeds.values():
        drawn = scores(items.references, each.answers, each.evidence, sample.clusters, sample.weights)
        if len(exam.pairs) >= FEWEST_PAIRS:
            drawn["pairs_right"] = pairs_right(exam.pairs, items.references, each.answers, sample)
        by_seed.append(drawn)
    draws = {metric: np.array([drawn[metric] for drawn in by_seed]) for metric in by_seed[0]}
    return Scored(dict(seeds), draws, exam.conversations)


def compare(exam: Exam, chosen_on: Items, rung: Rung, vanilla: Path, tuned: Path) -> Compared:
    """Score one rung's predictions on the same items and draws.

    Args:
        exam: The test items and their draws.
        chosen_on: The validation items.
        rung: The rung.
        vanilla: Folder of predictions before LoRA.
        tuned: Folder of predictions after LoRA.

    Raises:
        DataError: If a prediction of a test or validation item is missing.
    """
    before = read_seeds(vanilla / f"{rung.key}.parquet", exam.items.ids)
    centred = {seed: centre(each) for seed, each in before.items()}
    most_probable, validation = (
        read_seeds(tuned / f"{rung.key}.parquet", items.ids) for items in (exam.items, chosen_on)
    )
    thresholds = {seed: choose(each, chosen_on.references) for seed, each in validation.items()}
    after, decided = (
        {seed: decide(each, thresholds[seed]) for seed, each in seeds.items()} for seeds in (most_probable, validation)
    )
    kinds = {"vanilla": before, "centred": centred, "tuned": after}
    scored = {kind: score(exam, seeds) for kind, seeds in kinds.items()}
    if IS_BINARY:
        scored["tuned"].draws[ARGMAX] = score(exam, most_probable).draws["macro_f1"]
    return Compared(
        rung,
        scored,
        validation_scores(chosen_on, decided) if chosen_on.ids else {},
        thresholds,
        _reliability(exam.items, most_probable, chosen_on, validation),
    )


def _reliability(
    items: Items, answers: Mapping[int, Predictions], chosen_on: Items, validation: Mapping[int, Predictions]
) -> dict[str, list[Bin]]:
    """Return a tuned rung's probabilities in bins; see ``Compared``.

    With more than two labels they are the probabilities of the most probable label, and "right" replaces "needed".
    """
    if not IS_BINARY:
        return _reliability_of_largest(items, answers.values())
    kinds = {"as answered": dict.fromkeys(answers, NONE)}
    fitted = {seed: _calibrated(each, chosen_on.references) for seed, each in validation.items()}
    if all(fitted.values()):
        kinds["calibrated"] = {seed: each for seed, each in fitted.items() if each}
    labels = np.concatenate([items.references[each.known] for each in answers.values()])
    log_odds = {seed: each.log_odds[each.known] for seed, each in answers.items()}

    def shares(calibrations: Mapping[int, Calibration]) -> Floats:
        return np.concatenate([calibrations[seed].probabilities(values) for seed, values in log_odds.items()])

    return {kind: reliability(shares(each), labels) for kind, each in kinds.items()} if len(labels) else {}


def _reliability_of_largest(items: Items, answers: Iterable[Predictions]) -> dict[str, list[Bin]]:
    log_odds = np.concatenate([each.log_odds[each.known] for each in answers])
    labels = np.concatenate([items.references[each.known] for each in answers])
    is_right = log_odds.argmax(axis=1) == labels
    shares = NONE.probabilities(log_odds.max(axis=1))
    return {"as answered": reliability(shares, np.where(is_right, NEEDED, NOT_NEEDED))} if len(labels) else {}


def _calibrated(predictions: Predictions, references: NDArray[np.int64]) -> Calibration | None:
    known = predictions.known
    return calibrate(predictions.log_odds[known], references[known]) if is_enough(references[known]) else None


def validation_scores(items: Items, seeds: Mapping[int, Predictions]) -> dict[str, float]:
    """Return a tuned rung's scores on the validation items, by which settings are chosen; means over seeds.

    Undefined scores are left out, such as AUROC if all items have the same label.
    """
    whole = np.zeros(len(items.ids), dtype=np.int64), np.ones((1, 1))
    by_seed = [scores(items.references, each.answers, each.evidence, *whole) for each in seeds.values()]
    chosen = {metric: float(np.mean([values[metric][0] for values in by_seed])) for metric in VALIDATION_METRICS}
    return {metric: rounded(value) for metric, value in chosen.items() if np.isfinite(value)}


def floor_of(exam: Exam, labelled: Path) -> Scored:
    """Return the scores of always answering "needed", or with more than two labels the most frequent one.

    Args:
        exam: The test set.
        labelled: Rows of ``LABELLED``; the training split decides which label is most frequent.
    """
    label = NEEDED if IS_BINARY else int(np.bincount(read_items(labelled, "train").references).argmax())
    return score(exam, {0: always(label, len(exam.items.ids))})


def read_baselines(exam: Exam, folder: Path) -> dict[str, Scored]:
    """Return the scores of each baseline, from its predictions in a folder.

    Raises:
        DataError: If a prediction is missing.
    """
    answers = {
        name: read_predictions(folder / f"{name}.parquet", exam.items.ids, "dvc repro word_baselines")
        for name in (*CHEAP_BASELINES, *WORD_BASELINES)
    }
    return {name: score(exam, {0: each}) for name, each in answers.items()}


def models_metrics(
    exam: Exam, chosen_on: Items, compared: Sequence[Compared], floor: Scored, baselines: Mapping[str, Scored]
) -> dict[str, Any]:
    """Return the content of ``metrics/models.json``: each rung's three kinds and its gain, then floor and baselines.

    Settings are chosen by ``validation`` under ``tuned``; all else is on the test items. ``thresholds``, also under
    ``tuned``, decide the tuned answers, and ``macro_f1_argmax`` is the score of the most probable options without
    them. A tuned rung is compared with the best baseline on the test items, a choice in the baseline's favour.
    """
    counts = np.bincount(exam.items.references, minlength=len(SCORED)).tolist()
    all_baselines = {"floor": floor, **baselines}
    best = max(all_baselines, key=lambda name: float(all_baselines[name].draws["macro_f1"][0, 0]))
    metrics: dict[str, Any] = {}
    for each in compared:
        gain: dict[str, float | None] = {}
        for metric in GAINS:
            gain |= each.gain(metric).named(metric)
        if not (each.kinds["vanilla"].is_ranked and each.kinds["tuned"].is_ranked):
            gain |= _without_auroc(gain)
        by_kind: dict[str, Any] = {kind: scored.metrics() for kind, scored in each.kinds.items()}
        by_kind["tuned"]["validation"] = {**each.validation, "items": len(chosen_on.ids)}
        by_kind["tuned"]["calibration_error"] = {
            kind.replace(" ", "_"): rounded(calibration_error(bins)) for kind, bins in each.reliability.items()
        }
        by_kind["tuned"][THRESHOLDS] = {str(seed): threshold for seed, threshold in each.thresholds.items()}
        above = {"best": best, **each.above(all_baselines[best]).named("macro_f1")}
        metrics[each.rung.key] = {"params": each.rung.params, **by_kind, "gain": gain, "above_baselines": above}
    return {
        **metrics,
        "floor": floor.metrics(),
        "baselines": {name: scored.metrics() for name, scored in baselines.items()},
        "test_items": len(exam.items.ids),
        **({"test_needed": counts[0]} if IS_BINARY else {"test_labels": dict(zip(SCORED, counts, strict=True))}),
        "test_conversations": exam.conversations,
        "test_pairs": len(exam.pairs),
    }


def write_plots(
    folder: Path, exam: Exam, chosen_on: Items, compared: Sequence[Compared], floor: Scored, curves: Path | None
) -> None:
    """Write ``scaling.csv``, ``confusion.csv`` and ``reliability.csv``; with curves ``tuning.csv`` and ``loss.csv``.

    Raises:
        DataError: If a rung's folder of curves cannot be used.
    """
    names = ("scaling.csv", "confusion.csv", "reliability.csv", "tuning.csv", "loss.csv")
    with whole_folder(folder, *names) as temporary:
        write_csv(temporary / "scaling.csv", SCALING_COLUMNS, _scaling_rows(compared, floor))
        write_csv(temporary / "confusion.csv", CONFUSION_COLUMNS, _confusion_rows(exam.items, compared))
        write_csv(temporary / "reliability.csv", RELIABILITY_COLUMNS, _reliability_rows(compared))
        if curves:
            settings = {each.rung.key: read_settings(curves / each.rung.key) for each in compared}
            trained_with = tuple(dict.fromkeys(name for of_rung in settings.values() for name in of_rung))
            tuning = (
                row
                for each in compared
                for row in _tuning_rows(each, curves / each.rung.key, settings[each.rung.key], trained_with, chosen_on)
            )
            write_csv(temporary / "tuning.csv", (*TUNING_COLUMNS, *trained_with), tuning)
            write_csv(temporary / "loss.csv", LOSS_COLUMNS, _loss_rows(compared, curves))


def _scaling_rows(compared: Sequence[Compared], floor: Scored) -> Iterator[tuple[Any, ...]]:
    """Yield one row per rung, kind and metric; the floor is repeated at every size, so that it draws as a line."""
    for rung, kinds, *_ in compared:
        for kind, scored in {**kinds, BASELINES["floor"]: floor}.items():
            values = scored.metrics()
            for metric in METRICS:
                yield (*rung, kind, metric, values[metric], values[f"{metric}_lo"], values[f"{metric}_hi"])


def _confusion_rows(items: Items, compared: Sequence[Compared]) -> Iterator[tuple[Any, ...]]:
    """Yield one row per kind, rung, label and answer: the number of test items, and their share of that label.

    Only a rung's first seed counts, so that the numbers are whole.
    """
    for kind in ("vanilla", "tuned"):
        for rung, kinds, *_ in compared:
            cells = np.zeros((len(SCORED), len(ANSWERS)), dtype=np.int64)
            np.add.at(cells, (items.references, next(iter(kinds[kind].seeds.values())).answers), 1)
            for (reference, answer), count in np.ndenumerate(cells):
                share = rounded(count / max(1, cells[reference].sum()))
                yield (*rung, kind, ANSWERS[reference], ANSWERS[answer], int(count), share)


def _reliability_rows(compared: Sequence[Compared]) -> Iterator[tuple[Any, ...]]:
    """Yield one row per rung, kind and bin."""
    for each in compared:
        for kind, bins in each.reliability.items():
            for one in bins:
                yield (*each.rung, kind, rounded(one.probability), rounded(one.share), one.items)


def _tuning_rows(
    compared: Compared, curves: Path, settings: Mapping[str, str], names: Sequence[str], chosen_on: Items
) -> Iterator[tuple[Any, ...]]:
    """Yield a rung's validation loss and scores, to choose by, and its test scores, each with its training settings."""
    rung, scored = compared.rung, compared.kinds["tuned"]
    words = "; ".join(f"{name}={value}" for name, value in settings.items())
    values = tuple(settings.get(name, "") for name in names)
    items = len(next(iter(scored.seeds.values())).answers)
    loss = validation_loss(curves, settings)
    if loss is not None:
        yield (*rung, "validation", "", "deciding_loss", rounded(loss), "", "", words, *values)
    for metric, value in compared.validation.items():
        yield (*rung, "validation", len(chosen_on.ids), metric, value, "", "", words, *values)
    for metric in SHORT:
        ends = ("" if math.isnan(end) else rounded(end) for end in scored.of(metric).mean)
        yield (*rung, "test", items, metric, *ends, words, *values)


def _loss_rows(compared: Sequence[Compared], curves: Path) -> Iterator[tuple[Any, ...]]:
    """Yield each rung's training loss by step, over all tokens of the answer and for the deciding token."""
    for rung, *_ in compared:
        folder = curves / rung.key / TRAIN
        deciding = dict(_read_curve(folder / "deciding_loss.tsv"))
        for step, loss in _read_curve(folder / "loss.tsv"):
            yield rung.key, step, loss, deciding.get(step, "")


def read_settings(folder: Path) -> dict[str, str]:
    """Return a rung's training settings as strings, in the order of the file.

    Raises:
        DataError: If the file is missing or malformed.
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
    """Return the validation loss (nats) of the deciding token, for the weights that training saved.

    These are the weights of the last epoch, or with early stopping those of the best epoch.

    Returns:
        The loss; None without validation rows.

    Raises:
        DataError: If the file is malformed.
    """
    losses = [loss for _, loss in _read_curve(folder / VALIDATION / "deciding_loss.tsv")]
    if not losses:
        return None
    return losses[-1] if settings.get("early_stopping_patience") in (None, "0") else min(losses)


def _read_curve(path: Path) -> list[tuple[int, float]]:
    """Return the steps and values of a curve, whose column is named like its file; empty if training logged none."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        try:
            return [(int(row["step"]), float(row[path.stem])) for row in csv.DictReader(lines, delimiter="\t")]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a column {path.stem} of numbers. Run train again.") from error
