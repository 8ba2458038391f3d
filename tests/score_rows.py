"""Labelled items, base models and predictions of invented rungs, for tests of stages that run no model."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from chatladder.io.rows import LABEL_SETS, LABELLED, PREDICTIONS, write_rows


def write_labelled(path: Path, conversations: int = 60, per_conversation: int = 4) -> list[dict]:
    rows = []
    for number in range(conversations * per_conversation):
        conversation = f"c{number // per_conversation}"
        rows.append(
            {
                "item_id": f"i{number}",
                "turn_id": f"t{number}",
                "group": "g",
                "conversation": conversation,
                "sender": "u1",
                "text": "显存够吗？",
                "timestamp": 1_700_000_000 + number,
                "window": [],
                "label": "needed" if (number * 7) % 5 < 3 else "not_needed",
                "agreement": 1.0,
                "check_label": "needed" if (number * 7) % 5 < 3 else "not_needed",
                "split": "test" if number // per_conversation % 3 == 0 else "train",
            }
        )
    write_rows(path, rows, LABELLED)
    return rows


def write_base(folder: Path, key: str, params: int) -> None:
    (folder / key).mkdir(parents=True)
    (folder / key / "rung.json").write_text(json.dumps({"source": "embedded", "params": params, "name": key}))


def write_params(path: Path, ladder: Iterable[str], served: Iterable[str] = (), judges: Iterable[str] = ()) -> None:
    """Write a params.yaml that names rungs, as JSON, which is YAML."""
    sections = {name: {rung: {} for rung in rungs} for name, rungs in (("ladder", ladder), ("served", served))}
    path.write_text(json.dumps({**sections, "review": {"rungs": list(judges)}}))


def write_label_sets(path: Path, rows: Iterable[dict] = ()) -> None:
    """Write rows of ``LABEL_SETS``, by default none."""
    write_rows(path, list(rows), LABEL_SETS)


def write_predictions(
    path: Path, rows: list[dict], skill: float, bias: float = 0.0, seed: int = 0, seeds: Iterable[int] = (0,)
) -> None:
    """Write answers that are more often right the larger ``skill`` is, biased to "needed" by ``bias``.

    ``seed`` is for drawing the answers; ``seeds`` are the models' training seeds.
    """
    generator = np.random.default_rng(seed)
    predictions = []
    for row, training in ((row, training) for training in seeds for row in rows):
        side = 1 if row["label"] == "needed" else -1
        log_odds = skill * side + bias + generator.normal()
        needed = 0.95 / (1 + np.exp(-log_odds))
        predictions.append(
            {
                "item_id": row["item_id"],
                "seed": training,
                "p_needed": needed,
                "p_not_needed": 0.95 - needed,
                "p_unknown": 0.05,
                "answer": "needed" if log_odds > 0 else "not_needed",
                "parsed": True,
            }
        )
    write_rows(path, predictions, PREDICTIONS)
