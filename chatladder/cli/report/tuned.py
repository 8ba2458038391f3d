"""What the tuned models answered to the test items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatladder.cli.report.ladder import subset
from chatladder.evaluation.predictions import Predictions, read_predictions
from chatladder.io.rows import PREDICTIONS, Rows


@dataclass(frozen=True)
class Tuned:
    """Tuned models on the test items that all of them answered.

    Attributes:
        labels: Item -> label of those items.
        models: Rung -> answers, in the order of ``labels``.
        missing: Test items that not all of them answered.
    """

    labels: dict[str, str]
    models: dict[str, Predictions]
    missing: int

    def of(self, key: str, item_ids: Sequence[str]) -> Predictions:
        """One model's answers to some of the items, in the order given."""
        places = {item_id: place for place, item_id in enumerate(self.labels)}
        return subset(self.models[key], [places[item_id] for item_id in item_ids])


def read_tuned(folder: Path, keys: Sequence[str], labels: Mapping[str, str], splits: Mapping[str, str]) -> Tuned:
    """The answers of every rung that was tuned already.

    Args:
        folder: Folder of predictions.
        keys: The rungs.
        labels: Item -> label of the round.
        splits: Item -> split.

    Raises:
        DataError: If predictions cannot be used.
    """
    present = [key for key in sorted(keys) if (folder / f"{key}.parquet").exists()]
    test = {item_id: label for item_id, label in labels.items() if splits.get(item_id) == "test"}
    answered = set(test)
    for key in present:
        parts = Rows(folder / f"{key}.parquet", PREDICTIONS).parts(["item_id"])
        answered &= {item_id for part in parts for item_id in part["item_id"].to_pylist()}
    known = {item_id: label for item_id, label in test.items() if item_id in answered}
    if not present or not known:
        return Tuned({}, {}, 0)
    models = {key: read_predictions(folder / f"{key}.parquet", list(known)) for key in present}
    return Tuned(known, models, len(test) - len(known))
