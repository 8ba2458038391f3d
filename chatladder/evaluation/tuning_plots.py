"""What each rung was trained with, beside its scores: one point of a curve over experiments."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.io.files import read_json

#: Scores that curves over experiments show.
METRICS = ("f1", "macro_f1")
#: Digits of a loss.
DIGITS = 5
#: Columns before those of the settings, one each.
COLUMNS = ("rung", "params", "split", "items", "metric", "value", "lo", "hi", "settings")
#: Where train puts them in its folder of curves.
SETTINGS = "settings.json"
#: Beside it: the loss of the validation rows after each epoch.
LOSS = Path("plots/metrics/validation/deciding_loss.tsv")


def read_settings(folder: Path) -> dict[str, str]:
    """What a rung was trained with, as texts, in the order of the file.

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
    """Loss of the token that decides (nats), on the validation rows, of the weights that were kept; None without rows.

    They are those of the last epoch, or of the best one where training may stop early.

    Raises:
        DataError: If the file holds something else.
    """
    path = folder / LOSS
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as lines:
        try:
            losses = [float(row["deciding_loss"]) for row in csv.DictReader(lines, delimiter="\t")]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a column deciding_loss of numbers. Run train again.") from error
    if not losses:
        return None
    return losses[-1] if settings.get("early_stopping_patience") in (None, "0") else min(losses)


def tuning_rows(
    rung: tuple[str, int],
    settings: Mapping[str, str],
    names: Sequence[str],
    items: int,
    scores: Mapping[str, float],
    loss: float | None,
) -> Iterator[tuple[Any, ...]]:
    """Rows of ``COLUMNS`` and of the settings: the validation loss, to choose by, and scores on the test, to report.

    Args:
        rung: Its key and its number of parameters.
        settings: As ``read_settings`` gives them.
        names: Of the settings, for the columns behind ``COLUMNS``.
        items: How many the test has.
        scores: Each metric with ``_lo`` and ``_hi``.
        loss: As ``validation_loss`` gives it.
    """
    said = "; ".join(f"{name}={value}" for name, value in settings.items())
    values = tuple(settings.get(name, "") for name in names)
    if loss is not None:
        yield (*rung, "validation", "", "deciding_loss", round(loss, DIGITS), "", "", said, *values)
    for metric in METRICS:
        yield (*rung, "test", items, metric, *(scores[metric + end] for end in ("", "_lo", "_hi")), said, *values)
