"""Does a rewritten question find its answer in the group's own archive?

Example:
    python -m benchmarks.real.search --logs ../shared/data/irc

The logs are the raw ones of the annotated days (folders ``ubuntu-zh`` and ``ubuntu-en``), and become turns by the
product's own stages. A question counts if somebody answered it within ten minutes, addressing its sender. The rewrites
of people (here: one reader) show the most that rewriting can gain; a rung's texts are shown too, if there are any.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.real.chats import DRAWS, ROOT, Bools, in_brackets, publish, read_chat, table
from chatladder.evaluation.predictions import read_items, read_predictions
from chatladder.evaluation.retrieval import Archive, Found, find
from chatladder.evaluation.rewriting import mean_over
from chatladder.evaluation.scores import NEEDED, Bootstrap, bootstrap, interval
from chatladder.evaluation.threshold import choose, decide
from chatladder.io.console import SETTINGS, InputFolder, example
from chatladder.io.files import read_jsonl
from chatladder.io.params import read_yaml
from chatladder.io.rows import REWRITTEN, TURNS, read_rows
from chatladder.models.prompts import plain
from chatladder.vocabulary import POSITIVE, SCORED

LOGS = {"ubuntu-cn": "ubuntu-zh", "ubuntu": "ubuntu-en"}
#: A public log needs no secret: with this key its people have the pseudonyms of the annotated questions.
KEY = "real-chat-annotation-key-0123456789abcdef"
SECONDS = 600
EXAMPLES = 10


def archive_of(logs: Path) -> list[dict[str, Any]]:
    """Return the turns of a log, by the product's stages."""
    environment = {**os.environ, "CHATLADDER_PRIVACY_KEY": KEY}
    with TemporaryDirectory() as folder:
        messages, turns, counts = (f"{folder}/{name}" for name in ("messages.parquet", "turns.parquet", "counts.json"))
        ingest = ("--raw", str(logs), "--format", "irc", "--bot", "kk", "--bot", "^k^", "--out", messages)
        merge = ("--messages", messages, "--gap-seconds", "18", "--out", turns)
        for name, options in {"ingest": ingest, "merge": merge}.items():
            subprocess.run(
                [sys.executable, "-m", f"stages.{name}", *options, "--counts", counts],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
        return read_rows(Path(turns), TURNS).to_pylist()


def questions_of(chat: str, turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the questions on which the readers agree and that are among the turns, with turn, window and rewrite."""
    places = {(turn["sender"], turn["timestamp"], turn["text"]): turn["turn_id"] for turn in reversed(turns)}
    read = read_chat(chat)
    whole = {row["item_id"]: row["window"] for _, row in read_jsonl(read.folder / "annotated" / "questions.jsonl")}
    rewrites = {row["item_id"]: row["rewrite"] for _, row in read_jsonl(read.folder / "annotated" / "rewrites.jsonl")}
    rows = []
    for row, first, second in zip(read.rows, *read.readings, strict=True):
        turn_id = places.get((row["sender"], row["timestamp"], row["text"]))
        if turn_id and first == second and first in SCORED:
            item_id = row["item_id"]
            text = rewrites.get(item_id) if first == POSITIVE else None
            rows.append({**row, "turn_id": turn_id, "window": whole[item_id], "label": first, "rewrite": text})
    return rows


def shown(found: Mapping[str, Found], chosen: Bools, sample: Bootstrap) -> Iterator[tuple[str, ...]]:
    """Yield a row for each kind of text: its scores on the chosen questions, and the gain over the original text."""
    for name, each in found.items():
        scores = (interval(mean_over(values, chosen, sample)) for values in (each.recall, each.reciprocal))
        more = interval(mean_over(each.recall - found["as it is"].recall, chosen, sample))
        yield (name, *map(in_brackets, scores), "" if name == "as it is" else in_brackets(more, "+.3f"))


def by_policy(
    chat: str, rung: str, rows: Sequence[Mapping[str, Any]], archive: Archive, places: Sequence[int | None]
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each policy with a rung's texts of the test days; nothing if there are none."""
    folder = ROOT / chat
    path, answers = (folder / kind / "tuned" / f"{rung}.parquet" for kind in ("rewritten", "predictions"))
    if not path.exists():
        return
    table = read_rows(path, REWRITTEN)
    texts = dict(zip(table["item_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    kept = [number for number, row in enumerate(rows) if row["item_id"] in texts]
    asked, known = [rows[number] for number in kept], [places[number] for number in kept]
    chosen_on = read_items(folder / "data" / "labelled.parquet", "validation", is_small=True)
    threshold = choose(read_predictions(answers, chosen_on.ids), chosen_on.references)
    gate = decide(read_predictions(answers, [row["item_id"] for row in asked]), threshold).answers == NEEDED
    own, always = [plain(row["text"]) for row in asked], [texts[row["item_id"]] for row in asked]
    gated = [text if is_needed else as_is for text, is_needed, as_is in zip(always, gate, own, strict=True)]
    search = partial(find, archive, asked, known)
    found = {"as it is": search(own), "always": search(always), "gated": search(gated)}
    sample = bootstrap([row["conversation"] for row in asked], DRAWS)
    answered = found["as it is"].answered
    yield from shown(found, answered, sample)
    less = interval(mean_over(found["gated"].recall - found["always"].recall, answered, sample))
    yield (f"gated less always, {100 * gate.mean():.0f} of 100 written out", in_brackets(less, "+.3f"), "", "")


def examples(
    rows: Sequence[Mapping[str, Any]], turns: Sequence[Mapping[str, Any]], places: Sequence[int | None], found: Found
) -> Iterator[tuple[str, ...]]:
    """Yield the first rewritten questions whose answer was not found, each from another conversation."""
    seen = set()
    for number, row in enumerate(rows):
        place = places[number]
        if not row["rewrite"] or place is None or found.recall[number] or row["conversation"] in seen:
            continue
        seen.add(row["conversation"])
        yield tuple(_cell(text) for text in (plain(row["text"]), row["rewrite"], plain(turns[place]["text"])))
        if len(seen) == EXAMPLES:
            return


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")[:120]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--logs", type=InputFolder, required=True, help="Folder of the raw logs.")
def main(logs: Path) -> None:
    """Write what questions find as they are, and written out."""
    parts = [
        "Recall and mean reciprocal rank of the first ten turns by BM25 (bm25s), Han characters in pairs, other words "
        "whole. The question and the twelve turns before it are left out of the search. A rung's texts are of the "
        "test days alone."
    ]
    header = ("text", "recall at 10", "MRR at 10", "recall above as it is")
    for chat, folder in LOGS.items():
        turns = archive_of(logs / folder)
        rows = questions_of(chat, turns)
        archive = Archive(turns)
        places = [archive.answer_to(row, SECONDS) for row in rows]
        search = partial(find, archive, rows, places)
        own = [plain(row["text"]) for row in rows]
        found = {"as it is": search(own)}
        found["as a reader wrote it"] = search([row["rewrite"] or text for row, text in zip(rows, own, strict=True)])
        answered, written = found["as it is"].answered, np.array([row["rewrite"] is not None for row in rows])
        parts += [
            f"## {chat}",
            f"{len(turns):,} turns. Of {len(rows):,} questions {answered.sum():,} were answered; of "
            f"{written.sum():,} that a reader wrote out, {(answered & written).sum():,}.",
        ]
        sample = bootstrap([row["conversation"] for row in rows], DRAWS)
        for title, chosen in {
            "All answered questions": answered,
            "Those written out": answered & written,
        }.items():
            parts += [f"{title}:", table(header, list(shown(found, chosen, sample)))]
        for rung in read_yaml(ROOT / chat / "params.yaml").get("rewriting", {}).get("rungs", {}):
            if policies := list(by_policy(chat, rung, rows, archive, places)):
                parts += [f"Of the test days, written out by {rung}:", table(header, policies)]
        parts += [
            "Why so little is found: an answer seldom repeats what was asked. The first ten of as many conversations "
            "that even the reader's text does not find:",
            table(
                ("question", "written out", "what answered it"),
                list(examples(rows, turns, places, found["as a reader wrote it"])),
            ),
        ]
    publish("search", "Does a question that is written out find its answer?", parts, "--logs LOGS")


if __name__ == "__main__":
    main()
