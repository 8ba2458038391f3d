"""The folder of a pipeline that ran for one rung, ``tiny``: outputs, metrics and the dvc.lock that records them."""

import json
import shutil
from pathlib import Path

import yaml
from model_fixtures import TRAINING as SHORT
from model_fixtures import options, run

from chatladder.cli.export.record import md5_of
from chatladder.io.rows import PREDICTIONS, write_rows
from stages.train import main as train

RUNG = "tiny"
#: Long enough for the tiny model to give both answers.
TRAINING = SHORT | {"num-train-epochs": 60, "lora-r": 8, "lora-alpha": 16, "lora-dropout": 0}
QUESTIONS = {
    "judge": ["rules=5", "punctuation=7"],
    "join": "all",
    "min_characters": 4,
    "window": 3,
    "conversation_gap": 600,
    "max_conversation_turns": 50,
    "reply_reach": 3600,
}
PROMPT = {"language": "zh", "answer": "text", "seed": 0}
METRICS = {
    "annotation": {
        "round": 1,
        "needed": 12,
        "not_needed": 12,
        "disagreed": 2,
        "annotators": {"petra": {"answers": 26}, "quentin": {"answers": 26}},
        "rounds": {"1": {"items": 26, "kappa": 0.84615, "alpha": 0.84848}},
    },
    "scaling": {"gate": "inconclusive", "rungs": 3, "models": 9},
}
NAMES = ("precision", "recall", "f1", "macro_f1", "balanced_accuracy", "auroc")


def scored(value):
    return {f"{name}{end}": value + by for name in NAMES for end, by in (("", 0.0), ("_lo", -0.05), ("_hi", 0.05))}


def models_metrics():
    rung = {"params": 1, "vanilla": scored(0.5), "tuned": scored(0.9), "gain": {}}
    return {RUNG: rung, "floor": scored(0.33), "test_items": 6, "test_needed": 3}


def train_adapter(base: Path, alpaca: Path, out: Path) -> Path:
    """Train an adapter that classifies the fixture's questions."""
    result = run(
        train, "--base", base, "--alpaca", alpaca, *options(TRAINING), "--out", out, "--curves", f"{out}_curves"
    )
    assert result.exit_code == 0, result.output
    return out


def make_project(root: Path, base: Path, adapter: Path, alpaca: Path) -> Path:
    """Copy the outputs into ``root``, and record in dvc.lock that the pipeline made them."""
    data = root / "data"
    shutil.copytree(base, data / "bases" / RUNG)
    shutil.copytree(adapter, data / "adapters" / RUNG)
    shutil.copytree(alpaca, data / "alpaca")
    shutil.copyfile(alpaca.parent / "labelled.parquet", data / "labelled.parquet")
    write_rows(data / "predictions" / "tuned" / f"{RUNG}.parquet", [], PREDICTIONS)
    (root / "metrics").mkdir()
    for name, values in {**METRICS, "models": models_metrics()}.items():
        (root / "metrics" / f"{name}.json").write_text(json.dumps(values))
    lock(root)
    return root


def lock(root: Path, orders: int = 6) -> None:
    """Write dvc.lock for the current outputs."""
    data, tuned = "data", "data/predictions/tuned"
    base, adapter, labelled = f"{data}/bases/{RUNG}", f"{data}/adapters/{RUNG}", f"{data}/labelled.parquet"
    own = {name.replace("-", "_"): value for name, value in TRAINING.items() if name != "max-length"}
    training = {"max_length": TRAINING["max-length"], "train": {"lora_r": 64}, f"ladder.{RUNG}.train": own}
    rows = {
        "merge": ({"merge": {"gap_seconds": 18}}, [], []),
        "pick_questions": ({"questions": {"judge": ["rules=5", "punctuation=7"], **QUESTIONS}}, [], []),
        "label": ({}, [], [labelled, "metrics/annotation.json"]),
        "to_alpaca": ({"prompt": PROMPT}, [labelled], ["data/alpaca"]),
        f"train@{RUNG}": (training, [base, "data/alpaca"], [adapter]),
        f"predict_tuned@{RUNG}": (
            {"predict": {"orders": orders}},
            [adapter, base, labelled],
            [f"{tuned}/{RUNG}.parquet"],
        ),
        "check_scaling": ({}, [labelled], ["metrics/scaling.json"]),
        "evaluate": ({}, [labelled, tuned], ["metrics/models.json"]),
    }
    stages = {
        name: {
            "cmd": f"python -m stages.{name.partition('@')[0]}",
            "params": {"params.yaml": params},
            **{
                kind: [{"path": path, "hash": "md5", "md5": md5_of(root / path)} for path in paths]
                for kind, paths in (("deps", deps), ("outs", outs))
            },
        }
        for name, (params, deps, outs) in rows.items()
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))
