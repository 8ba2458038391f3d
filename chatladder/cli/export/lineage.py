"""Where a model comes from: commit, versions, and the MD5 of its data; refused where the record does not fit.

A card states figures that were measured on one adapter, trained on one state of the labels. ``dvc.lock`` ties them
together, so what lies on the disk is held against it, link by link, before any of it is written down.
"""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.cli.export.lock import Lock, md5_of
from chatladder.io.console import DataError
from chatladder.io.files import read_json


class Sources(NamedTuple):
    """Where the pipeline's outs lie."""

    lock: Path
    bases: Path
    adapters: Path
    alpaca: Path
    labelled: Path
    tuned: Path  # predictions of tuned models, one parquet a rung
    metrics: Path  # folder of models.json, annotation.json and scaling.json


def lineage(sources: Sources, lock: Lock, rung: str) -> dict[str, Any]:
    """What the card says about where the model comes from.

    Returns:
        ``chatladder`` (version), ``git_commit`` (None outside a repository), ``uncommitted_changes``, and ``dvc``: the
        MD5 of base, adapter, alpaca and labelled as ``dvc.lock`` has them.

    Raises:
        DataError: If base, adapter or training rows on the disk are not those that the lock file records.
    """
    train = f"train@{rung}"
    base, adapter = sources.bases / rung, sources.adapters / rung
    for path, stage in ((base, train), (adapter, train), (sources.alpaca, train)):
        _same(lock.md5(stage, path), md5_of(path), path, sources.lock, stage)
    _same(lock.md5("to_alpaca", sources.alpaca), lock.md5(train, sources.alpaca), sources.alpaca, sources.lock, train)
    commit, changed = _git(sources.lock.resolve().parent)
    md5 = {
        "base": lock.md5(train, base),
        "adapter": lock.md5(train, adapter),
        "alpaca": lock.md5(train, sources.alpaca),
        "labelled": lock.md5("to_alpaca", sources.labelled),
    }
    return {"chatladder": version("chatladder"), "git_commit": commit, "uncommitted_changes": changed, "dvc": md5}


def read_metrics(sources: Sources, lock: Lock, rung: str) -> dict[str, dict[str, Any] | None]:
    """What label, evaluate and check_scaling measured, by the name of its file; None where there is no such file.

    Raises:
        DataError: If it was measured on another adapter, or on other labels.
    """
    found: dict[str, dict[str, Any] | None] = {}
    for name, stage in (("annotation", "label"), ("models", "evaluate"), ("scaling", "check_scaling")):
        path = sources.metrics / f"{name}.json"
        found[name] = None
        if path.is_file():
            _same(lock.md5(stage, path), md5_of(path), path, sources.lock, stage)
            _same(lock.md5(stage, sources.labelled), lock.md5("to_alpaca", sources.labelled), path, sources.lock, stage)
            found[name] = read_json(path)
    if found["models"] is not None:
        _check_evaluated(sources, lock, rung)
    return found


def _check_evaluated(sources: Sources, lock: Lock, rung: str) -> None:
    """Refuse metrics of another adapter than the one at hand."""
    models = sources.metrics / "models.json"
    predictions, predict = sources.tuned / f"{rung}.parquet", f"predict_tuned@{rung}"
    adapter = sources.adapters / rung
    _same(lock.md5(predict, adapter), lock.md5(f"train@{rung}", adapter), predictions, sources.lock, predict)
    _same(lock.md5("evaluate", predictions), lock.md5(predict, predictions), models, sources.lock, "evaluate")


def _same(recorded: str | None, found: str | None, path: Path, lock: Path, stage: str) -> None:
    if recorded is None or recorded != found:
        raise DataError(
            f"{path}: expected what {lock} records of {stage}, got another state; the card would tell of one model and "
            f"the folder hold another. Run dvc repro {stage} (or dvc checkout) first."
        )


def _git(folder: Path) -> tuple[str | None, bool]:
    """The commit that is checked out, and whether tracked files differ from it."""
    try:
        commit, status = (
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None, False
    return commit, bool(status)
