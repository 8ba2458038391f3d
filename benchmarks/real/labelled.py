"""Measure models on turns that people labelled and wrote out: English data from elsewhere.

Example:
    python -m benchmarks.real.labelled gecor-camrest.jsonl trec-cast.jsonl irc-replylink-weak.jsonl
    python -m benchmarks.real.labelled trec-cast.jsonl --gate qwen_0_5b --writer smollm2_135m

The data, lines as ``chatladder import`` reads them:

- GECOR's annotation of CamRest676 (Quan et al. 2019, <https://github.com/terryqj0107/GECOR>, CC BY 4.0): dialogues
  about restaurants, each turn with the full sentence that an annotator wrote.
- TREC CAsT 2019 and 2020 (Dalton et al., <https://github.com/daltonj/treccastweb>, MIT): conversational search, with
  manual rewrites.
- #ubuntu (Kummerfeld et al. 2019, <https://github.com/jkkummerfeld/irc-disentanglement>, CC BY 4.0): group chat. A
  turn counts as needed if annotators linked it to an earlier one as its reply: a weak label. There are no rewrites.

Dialogues are split into train, validation and test once; from each split some needed turns are drawn, and as many
others, as far as there are any. The gate is the adapter of a rung that learned from ubuntu-cn, in Chinese: of this data
it gets only the validation turns, for a threshold. The learner's and the writer's adapters are trained here, with the
settings of ubuntu-cn, none of which was chosen on this data. What rungs answer and write is kept in ``labelled/SET``
and scored again by every run; a rung runs only if it is named.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.real.chats import DRAWS, ROOT, publish, table
from benchmarks.real.learning import Labels, Line, by_words, difference, tuned
from chatladder.cli.import_labelled import conversation_of
from chatladder.evaluation.comparison import exam_of
from chatladder.evaluation.predictions import read_items
from chatladder.io.console import SETTINGS, InputFile, example
from chatladder.io.files import read_json, read_jsonl
from chatladder.io.params import read_yaml
from chatladder.io.rows import LABELLED, REWRITES, write_rows
from chatladder.labels.folds import labelled_rows
from chatladder.vocabulary import NEGATIVE, POSITIVE

FOLDER = ROOT / "labelled"
#: The number of needed turns in each split, at most; as many others are drawn.
COUNTS = {"train": 300, "validation": 40, "test": 200}
#: The share of dialogues in each split.
SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}
STATES = ("vanilla", "tuned")
#: In the name of a file of answers: between the rung and the chat or set that it learned from.
FROM = "-from-"


def rows_of(labelled: Path) -> list[dict[str, Any]]:
    """Return rows of ``LABELLED`` with a column ``rewrite``, in the order of the file."""
    read = [row for _, row in read_jsonl(labelled)]
    dialogues = sorted({conversation_of(row["id"]) for row in read})
    Random(0).shuffle(dialogues)
    splits = [split for split, share in SHARES.items() for _ in range(round(share * len(dialogues)) + 1)]
    split_of = dict(zip(dialogues, splits, strict=False))
    kept = set()
    for split, count in COUNTS.items():
        for is_needed in (True, False):
            ids = [
                row["id"]
                for row in read
                if split_of[conversation_of(row["id"])] == split and row["needs_context"] == is_needed
            ]
            kept |= {*Random(f"{split} {is_needed}").sample(ids, min(count, len(ids)))}
    return [
        {
            "item_id": row["id"],
            "turn_id": row["id"],
            "group": labelled.stem,
            "conversation": conversation_of(row["id"]),
            "sender": row["sender"],
            "text": row["text"],
            "timestamp": None,
            "window": row["history"],
            "label": POSITIVE if row["needs_context"] else NEGATIVE,
            "check_label": POSITIVE if row["needs_context"] else NEGATIVE,
            "agreement": 1.0,
            "split": split_of[conversation_of(row["id"])],
            "rewrite": row["rewrite"] if row["needs_context"] else None,
        }
        for row in read
        if row["id"] in kept
    ]


def run(name: str, *arguments: str | Path) -> None:
    """Run a stage of the product."""
    path = os.pathsep.join(filter(None, (str(ROOT.parents[1]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", f"stages.{name}", *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})


class Turns:
    """One set of turns, as rows of the product's stages in a folder, and what rungs answered and wrote."""

    def __init__(self, source: Path, data: Path) -> None:
        """Write the turns of ``source`` to the folder ``data``, which also takes what training leaves."""
        self.data, self.kept = data, FOLDER / source.stem
        self.settings = read_yaml(ROOT / "ubuntu-cn" / "params.yaml")
        self.length = ("--max-length", str(self.settings["max_length"]))
        self.labelled, self.rewrites = data / "labelled.parquet", data / "rewrites.parquet"
        rows = rows_of(source)
        write_rows(self.labelled, [{name: row[name] for name in LABELLED.names} for row in rows], LABELLED)
        written = [
            {"item_id": row["item_id"], "annotator": "people", "rewrite": row["rewrite"], "chosen": True}
            for row in rows
            if row["rewrite"]
        ]
        write_rows(self.rewrites, written, REWRITES)

    def options(self, section: str) -> Iterator[str]:
        """Yield a section of params.yaml as options; the language is English."""
        for key, value in self.settings[section].items():
            yield from (f"--{key}", "en" if key == "language" else str(value))

    def answer(self, rung: str, adapter: Path, source: str) -> None:
        """Let an adapter, which learned from ``source``, say which turns need their history."""
        model = ("--base", ROOT / "bases" / rung, "--adapter", adapter)
        asked = ("--questions", self.labelled, "--splits", "validation", "--splits", "test", *self.length)
        out = self.kept / "answers" / f"{rung}{FROM}{source}.parquet"
        run("predict", *model, *asked, *self.options("prompt"), *self.options("predict"), "--out", out)

    def train(self, rung: str, rows: str) -> Path:
        """Return the adapter that a rung learns from this set: ``alpaca``, the gate's, or ``rewriting``."""
        taught = ("--rewrites", self.rewrites, "--rewriting", self.data / "rewriting", "--out", self.data / "alpaca")
        run("to_alpaca", "--labelled", self.labelled, *self.options("prompt"), *taught)
        given = ("--base", ROOT / "bases" / rung, "--alpaca", self.data / rows)
        adapter = self.data / f"{rows}_adapter"
        outs = ("--out", adapter, "--curves", self.data / f"{rows}_curves")
        run("train", *given, *outs, *self.length, *self.options("train"))
        return adapter

    def write_out(self, rung: str) -> None:
        """Train a rung to write turns out, and let it write the test turns, before and after."""
        asked = ("--base", ROOT / "bases" / rung, "--labelled", self.labelled, "--language", "en", *self.length)
        untouched, trained = (self.kept / state / f"{rung}.parquet" for state in STATES)
        run("rewrite", *asked, "--rewrites", self.rewrites, "--out", untouched)
        run("rewrite", *asked, "--adapter", self.train(rung, "rewriting"), "--out", trained)

    def judged(self) -> Iterator[tuple[str, ...]]:
        """Yield a row of scores for each classifier of words, which learned from this set, and each gate."""
        rows = labelled_rows(self.labelled)
        exam, chosen_on = exam_of(self.labelled, DRAWS), read_items(self.labelled, "validation", is_small=True)
        by_id = {row["item_id"]: row for row in rows}
        learned = [row for row in rows if row["split"] != "test"]
        labels = Labels(exam, chosen_on, learned, [by_id[each] for each in exam.items.ids])
        words = by_words(labels)
        best = max(words.values(), key=lambda each: float(each.draws["macro_f1"][0, 0]))
        for name, each in words.items():
            yield Line(f"words: {name}", len(learned), each).cells()
        for path in sorted((self.kept / "answers").glob("*.parquet")):
            each = tuned(labels, path)
            count = len(learned) if path.stem.endswith(self.kept.name) else len(chosen_on.ids)
            yield Line(path.stem.replace(FROM, ", from "), count, each, difference(each, best, "macro_f1")).cells()

    def score_texts(self, rung: str) -> Mapping[str, Any]:
        """Return the scores of the texts of a writer, and of what the first gate lets it write."""
        texts = [part for state in STATES for part in (f"--{state}", self.kept / state / f"{rung}.parquet")]
        (gate,) = (self.kept / "answers").glob(f"*{FROM}ubuntu-cn.parquet")
        given = ("--labelled", self.labelled, "--rewrites", self.rewrites, "--gate", gate)
        run("score_rewrites", *given, *texts, "--language", "en", "--seed", "0", "--metrics", self.data / "texts.json")
        metrics: Mapping[str, Any] = read_json(self.data / "texts.json")
        return metrics

    def parts(self) -> Iterator[str]:
        """Yield the paragraphs and tables of the set."""
        yield f"## {self.kept.name}"
        yield table(("answers", "labels", "macro-F1", "AUROC", "above words"), list(self.judged()))
        for path in sorted((self.kept / "tuned").glob("*.parquet")):
            metrics = self.score_texts(path.stem)
            always, gated = (100 * metrics["policies"][policy]["harm"] for policy in ("always", "gated"))
            yield (
                f"{metrics['written_out']} test turns that people wrote out. Of those that need nothing, {path.stem} "
                f"changes {always:.1f} % when it writes out all, and {gated:.1f} % when it writes out those that the "
                "model from ubuntu-cn calls needed."
            )
            header = ("text", "exact", "chrF", "chrF above the turn as it is", "ROUGE-L", "words from nowhere")
            yield table(header, list(lines(metrics, path.stem)))


def lines(metrics: Mapping[str, Any], rung: str) -> Iterator[tuple[str, ...]]:
    """Yield a row for each text: exact, chrF, chrF above copying, ROUGE-L, words from nowhere."""
    names = {"copy": "the turn as it is", "people": "annotators", "vanilla": f"{rung}, untouched", "tuned": rung}
    for key, name in names.items():
        score = metrics[key]

        def shown(metric: str, form: str, score: Mapping[str, Any] = score) -> str:
            return f"{score[metric]:{form}} [{score[metric + '_lo']:{form}}, {score[metric + '_hi']:{form}}]"

        more = "" if key in ("copy", "people") else shown("above_copy", "+.1f")
        yield (
            name,
            shown("exact", ".3f"),
            shown("chrf", ".1f"),
            more,
            shown("rouge_l", ".3f"),
            shown("invented", ".3f"),
        )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("labelled", nargs=-1, required=True, type=InputFile)
@click.option("--gate", help="A base of benchmarks/real, whose adapter on ubuntu-cn answers.")
@click.option("--learner", help="A base of benchmarks/real, which learns from this set and answers.")
@click.option("--writer", help="A base of benchmarks/real, which learns to write turns out.")
def main(labelled: tuple[Path, ...], gate: str | None, learner: str | None, writer: str | None) -> None:
    """Measure rungs on labelled turns, and write the page."""
    parts = [
        "Intervals are of 95 %, over dialogues. Labels: those of this set that the answers rest on; a model from "
        f"ubuntu-cn has them for its threshold alone. The writer learned from at most {COUNTS['train']} turns with "
        "what people wrote, and as many that stay as they are; one seed. Words from nowhere stand neither in the turn "
        "nor in the dialogue before it. Turns without any before them are among those that need nothing."
    ]
    for source in labelled:
        with TemporaryDirectory() as data:
            turns = Turns(source, Path(data))
            if gate:
                turns.answer(gate, ROOT / "ubuntu-cn" / "adapters" / gate, "ubuntu-cn")
            if learner:
                turns.answer(learner, turns.train(learner, "alpaca"), source.stem)
            if writer:
                turns.write_out(writer)
            parts += turns.parts()
    publish("labelled", "Turns that people labelled and wrote out", parts, "FILE...")


if __name__ == "__main__":
    main()
