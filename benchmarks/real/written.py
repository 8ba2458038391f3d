"""How well does a small model rewrite turns that people rewrote? Dialogues and conversational search, in English.

Example:
    python -m benchmarks.real.written --labelled gecor-camrest.jsonl
    python -m benchmarks.real.written --labelled trec-cast.jsonl --rung smollm2_135m

The data, lines as ``chatladder import`` reads them:

- GECOR's annotation of CamRest676 (Quan et al. 2019, <https://github.com/terryqj0107/GECOR>, CC BY 4.0): dialogues
  about restaurants, each turn with the full sentence that an annotator wrote.
- TREC CAsT 2019 and 2020 (Dalton et al., <https://github.com/daltonj/treccastweb>, MIT): conversational search, with
  manual rewrites.

Dialogues are split into train, validation and test once; from each split some turns with a reference are drawn, and as
many without, as far as there are any. Training, rewriting and scores are the product's stages. The rungs' texts are
kept in ``written/SET``: without ``--rung`` no model runs, and they are scored again.
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

from benchmarks.real.chats import ROOT, publish, table
from chatladder.cli.import_labelled import conversation_of
from chatladder.io.console import SETTINGS, InputFile, example
from chatladder.io.files import read_json, read_jsonl
from chatladder.io.params import read_yaml
from chatladder.io.rows import LABELLED, PREDICTIONS, REWRITES, write_rows
from chatladder.vocabulary import NEGATIVE, POSITIVE

FOLDER = ROOT / "written"
#: The number of turns with a reference in each split; as many without are drawn.
COUNTS = {"train": 300, "validation": 40, "test": 200}
#: The share of dialogues in each split.
SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}


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


def measure(labelled: Path, trained: str | None) -> None:
    """Score rewrites of the test turns.

    Args:
        labelled: The turns.
        trained: A rung to train first, which then rewrites them; None to score the texts that are kept.
    """
    settings = read_yaml(ROOT / "ubuntu-cn" / "params.yaml")
    kept = FOLDER / labelled.stem
    rows = rows_of(labelled)
    written = [
        {"item_id": row["item_id"], "annotator": "people", "rewrite": row["rewrite"], "chosen": True}
        for row in rows
        if row["rewrite"]
    ]
    # No gate is asked: its answers are the labels, so "gated" shows the result of a perfect gate.
    gate = [
        {
            "item_id": row["item_id"],
            "seed": 0,
            "p_needed": float(row["label"] == POSITIVE),
            "p_not_needed": float(row["label"] != POSITIVE),
            "p_unknown": 0.0,
            "answer": row["label"],
            "parsed": True,
        }
        for row in rows
    ]
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given, rewrites = folder / "labelled.parquet", folder / "rewrites.parquet"
        write_rows(given, [{name: row[name] for name in LABELLED.names} for row in rows], LABELLED)
        write_rows(rewrites, written, REWRITES)
        write_rows(folder / "gate.parquet", gate, PREDICTIONS)
        if trained:
            write_out(trained, given, rewrites, folder, kept, settings)
        for rung in [trained] if trained else [path.stem for path in sorted((kept / "tuned").glob("*.parquet"))]:
            texts = {kind: kept / kind / f"{rung}.parquet" for kind in ("vanilla", "tuned")}
            scored = ("--vanilla", texts["vanilla"], "--tuned", texts["tuned"], "--gate", folder / "gate.parquet")
            run(
                "score_rewrites",
                *("--labelled", given, "--rewrites", rewrites, *scored, "--language", "en", "--seed", "0"),
                *("--metrics", kept / f"{rung}.json"),
            )


def write_out(rung: str, given: Path, rewrites: Path, folder: Path, kept: Path, settings: Mapping[str, Any]) -> None:
    """Train a rung to rewrite, and let it rewrite the test turns, before and after.

    Args:
        rung: The rung.
        given: Rows of ``LABELLED``.
        rewrites: Rows of ``REWRITES``.
        folder: A folder for what the training needs and leaves.
        kept: The folder of the set, for the texts.
        settings: Sections of params.yaml.
    """
    training = [part for key, value in settings["train"].items() for part in (f"--{key}", str(value))]
    length = ("--max-length", str(settings["max_length"]))
    base = ROOT / "bases" / rung
    prompt = ("--language", "en", "--answer", "text", "--seed", "0")
    taught = ("--out", folder / "alpaca", "--rewrites", rewrites, "--rewriting", folder / "rewriting")
    run("to_alpaca", "--labelled", given, *prompt, *taught)
    outs = ("--out", folder / "adapter", "--curves", folder / "curves")
    run("train", "--base", base, "--alpaca", folder / "rewriting", *outs, *length, *training)
    asked = ("--base", base, "--labelled", given, "--language", "en", *length)
    run("rewrite", *asked, "--rewrites", rewrites, "--out", kept / "vanilla" / f"{rung}.parquet")
    run("rewrite", *asked, "--adapter", folder / "adapter", "--out", kept / "tuned" / f"{rung}.parquet")


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
@click.option("--labelled", type=InputFile, required=True, help="The turns (JSON lines).")
@click.option("--rung", help="A base of benchmarks/real to train first.")
def main(labelled: Path, rung: str | None) -> None:
    """Measure what rungs wrote, and write the page of all of them."""
    measure(labelled, rung)
    header = ("text", "exact", "chrF", "chrF above the turn as it is", "ROUGE-L", "words from nowhere")
    parts = [
        "Test turns that refer to something, 95 % intervals over dialogues. Words from nowhere stand neither in the "
        "turn nor in the dialogue before it. A second adapter learned from at most "
        f"{COUNTS['train']} turns with what annotators wrote, and as many that stay as they are."
    ]
    for path in sorted(FOLDER.glob("*/*.json")):
        metrics = read_json(path)
        harm = metrics["policies"]["always"]["harm"]
        parts += [
            f"## {path.parent.name}: {path.stem}",
            f"{metrics['written_out']} turns. Of the test turns that need nothing, it changes {100 * harm:.1f} % when "
            "it is asked to write them out all the same.",
            table(header, list(lines(metrics, path.stem))),
        ]
    publish("written", "Turns that people wrote out", parts, "--labelled FILE --rung RUNG")


if __name__ == "__main__":
    main()
