"""Raw chat to questions by the stages of the graph, each a separate process, with its time and memory."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import click


class Cost(NamedTuple):
    """The time and memory of one process."""

    wall: float  # seconds
    cpu: float  # seconds
    memory: int  # bytes, the largest resident set


def run(*command: str) -> Cost:
    """Run one of our modules to its end."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(command)}\n{errors[-2000:]}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def to_questions(raw: Path, out: Path) -> dict[str, Cost]:
    """Process the exports in ``raw`` to questions by the default judges; all intermediate files are in ``out``."""
    costs = {}
    messages, turns, questions = (str(out / f"{name}.parquet") for name in ("messages", "turns", "questions"))
    counts = out / "counts"
    ingest, merge = str(counts / "ingest.json"), str(counts / "merge.json")
    costs["ingest"] = run(
        "stages.ingest",
        "--raw",
        str(raw),
        "--format",
        "auto",
        "--timezone",
        "UTC",
        "--date-order",
        "auto",
        "--out",
        messages,
        "--counts",
        ingest,
    )
    costs["merge"] = run(
        "stages.merge", "--messages", messages, "--gap-seconds", "18", "--out", turns, "--counts", merge
    )
    picking = ["--turns", turns, "--join", "all", "--counts", str(counts), "--scores", str(out / "scores")]
    for judge in ("rules", "punctuation"):
        options = ["--seed", "0", "--turns", turns, "--out", str(out / "scores" / judge)]
        costs[judge] = run("stages.score", "--judge", judge, "--kind", judge, *options)
        picking += ["--judge", f"{judge}=5"]
    limits = ["--min-characters", "7", "--window", "12", "--conversation-gap", "1800"]
    limits += ["--max-conversation-turns", "500", "--reply-reach", "86400"]
    metrics = out / "questions.json"
    costs["pick_questions"] = run(
        "stages.pick_questions", *picking, *limits, "--out", questions, "--metrics", str(metrics)
    )
    return costs
