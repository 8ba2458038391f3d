"""A tiny embedded base model, made once for all tests, and labelled questions for it."""

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from filelock import FileLock

from chatladder.io.rows import LABELLED, write_rows
from stages.base import main as base
from stages.to_alpaca import main as to_alpaca
from stages.train import main as train

TINY = {
    "hidden-size": 8,
    "num-hidden-layers": 1,
    "num-attention-heads": 1,
    "intermediate-size": 16,
    "dialogues": 64,
    "learning-rate": 8.0e-3,
    "muon-learning-rate": 0.01,
    "per-device-train-batch-size": 32,
    "warmup-steps": 0,
    "language": "zh",
    "answer": "text",
    "seeds": 0,
}
TRAINING = {
    "learning-rate": 0.02,
    "num-train-epochs": 8,
    "per-device-train-batch-size": 4,
    "gradient-accumulation-steps": 1,
    "warmup-steps": 2,
    "weight-decay": 0.0,
    "lora-r": 4,
    "lora-alpha": 8,
    "lora-dropout": 0.05,
    "target-modules": "all-linear",
    "max-length": 512,
    "seeds": 0,
}
#: The smallest model whose answers depend on its prompt.
TAUGHT = TINY | {
    "hidden-size": 48,
    "num-hidden-layers": 2,
    "num-attention-heads": 4,
    "intermediate-size": 144,
    "dialogues": 6000,
    "learning-rate": 1.0e-3,
    "per-device-train-batch-size": 16,
    "warmup-steps": 20,
}
PROMPT = ["--language", "zh", "--answer", "text", "--seed", "0"]


def write_params(path: Path, own: dict | None = None) -> Path:
    """Write a params.yaml whose rung ``tiny`` is trained with ``TRAINING``, overridden by its own section."""
    train = {name: value for name, value in TRAINING.items() if name != "max-length"}
    path.write_text(yaml.safe_dump({"train": train, "ladder": {"tiny": {"train": own or {}}}}), encoding="utf-8")
    return path


def options(values: dict) -> list[str]:
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def write_questions(path: Path, count: int = 24) -> list[dict]:
    """Write questions whose label follows from the text: with a pronoun, needed; with a name, not needed."""
    rows = [
        {
            "item_id": f"q{number}",
            "turn_id": f"t{number}",
            "group": "g",
            "conversation": f"c{number // 2}",
            "sender": f"u{number % 3}",
            "text": f"它的第{number}版好用吗？" if number % 2 else f"雨伞{number}号好用吗？",
            "timestamp": 1_700_000_000 + number,
            "window": [{"sender": "u1", "text": f"我买了把雨伞{number}号", "timestamp": 1_700_000_000}] * (number % 4),
            "label": "needed" if number % 2 else "not_needed",
            "check_label": "needed" if number % 2 else "not_needed",
            "agreement": 1.0,
            "split": ("train", "train", "validation", "test")[number // 2 % 4],
        }
        for number in range(count)
    ]
    write_rows(path, rows, LABELLED)
    return rows


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """Return the base folder, as ``stages.base`` writes it, of the smallest embedded model, with two training steps."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    result = run(base, "--source", "embedded", *options(TINY), "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="session")
def taught_base(tmp_path_factory) -> Path:
    """Return an embedded model that has learned something; as this takes long, all test processes share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "taught.lock"):
        if not (folder / "taught").exists():
            result = run(base, "--source", "embedded", *options(TAUGHT), "--out", folder / "taught")
            assert result.exit_code == 0, result.output
    return folder / "taught"


@pytest.fixture(scope="session")
def tiny_alpaca(tmp_path_factory) -> Path:
    """Return the folder of alpaca files of ``write_questions``: 12 rows to train on, 6 to validate, 6 to test."""
    folder = tmp_path_factory.mktemp("alpaca")
    write_questions(folder / "labelled.parquet")
    result = run(to_alpaca, "--labelled", folder / "labelled.parquet", *PROMPT, "--out", folder / "alpaca")
    assert result.exit_code == 0, result.output
    return folder / "alpaca"


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base, tiny_alpaca, tmp_path_factory) -> Path:
    """Return the folder, as ``stages.train`` writes it, of an adapter of ``tiny_base`` trained on ``tiny_alpaca``."""
    folder = tmp_path_factory.mktemp("adapters")
    folders = ["--out", folder / "tiny", "--curves", folder / "curves"]
    result = run(train, "--base", tiny_base, "--alpaca", tiny_alpaca, *options(TRAINING), *folders)
    assert result.exit_code == 0, result.output
    return folder / "tiny"


@pytest.fixture
def labelled(tmp_path) -> Path:
    write_questions(tmp_path / "labelled.parquet")
    return tmp_path / "labelled.parquet"
