r"""What ``chatladder serve`` takes: time of a question, memory, many clients at once; and whether answers are the same.

Run it in the repository's root, on idle cores.

Example:
    python -m benchmarks.serve embedded_700k --questions data/labelled.parquet \
        --predictions data/predictions/tuned/embedded_700k.parquet

The command itself is started, as a user would start it, and asked over HTTP by this process. First one client asks
one question after another. Then many clients at once ask one each, again and again, until every question was asked
once more; the time of a question is then from its request to its answer, with the wait for those before it. Memory is
what the server's process holds, before the first question and at the end. ``--predictions`` are what stages.predict
wrote of the same questions: the largest difference of a probability, and answers that differ, are counted. Prints a
Markdown table.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import click
import httpx2
import numpy as np
import psutil

from benchmarks.results import known, publish, save_option
from chatladder.io.console import SETTINGS, DataError, InputFile, example
from chatladder.io.rows import PREDICTIONS, QUESTIONS, read_rows

MIB = 2**20


class Asked(NamedTuple):
    """What many requests gave.

    Attributes:
        answers: Of each question, in their order.
        seconds: Of each question, shape (n,).
        whole: Seconds from the first request to the last answer.
    """

    answers: list[dict[str, Any]]
    seconds: np.ndarray
    whole: float


def body_of(row: dict[str, Any]) -> dict[str, Any]:
    """A question as the server takes it."""
    history = [{"sender": turn["sender"], "text": turn["text"]} for turn in row["window"]]
    return {
        "history": history,
        "question": {"sender": row["sender"], "text": row["text"]},
        "item_id": row["item_id"],
    }


@contextmanager
def server(words: Sequence[str]) -> Iterator[tuple[str, psutil.Process]]:
    """Start the command; give its address and its process.

    Raises:
        DataError: If it ends at once.
    """
    command = [sys.executable, "-m", "chatladder.cli.serve.command", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = next((line for line in process.stdout or () if line.startswith("http://")), None)
            if line is None:
                raise DataError(f"chatladder serve {' '.join(words)}: expected a server, got none; see above.")
            yield line.strip(), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


async def ask(address: str, bodies: Sequence[dict[str, Any]], clients: int) -> Asked:
    """Ask every question once, so many at a time."""
    answers: list[dict[str, Any]] = [{} for _ in bodies]
    seconds = np.zeros(len(bodies))
    numbers = iter(range(len(bodies)))
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=address, timeout=600, limits=limits, trust_env=False) as client:

        async def one() -> None:
            for number in numbers:
                start = perf_counter()
                reply = await client.post("/v1/questions", json=bodies[number])
                reply.raise_for_status()
                answers[number], seconds[number] = reply.json(), perf_counter() - start

        start = perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        return Asked(answers, seconds, perf_counter() - start)


def row_of(name: str, asked: Asked) -> str:
    """A row of the table."""
    middle, slow = (1000 * np.quantile(asked.seconds, share) for share in (0.5, 0.95))
    return f"| {name} | {middle:.0f} | {slow:.0f} | {len(asked.answers) / asked.whole:.1f} |"


def differences(answers: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """The largest difference of a probability, and the number of answers that differ."""
    largest = max(abs(own["p_needed"] - other["p_needed"]) for own, other in zip(answers, others, strict=True))
    changed = sum(own["needed"] != other["needed"] for own, other in zip(answers, others, strict=True))
    return largest, changed


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("rung")
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--predictions", type=InputFile, help="What stages.predict wrote; its questions are asked alone.")
@click.option("--rows", type=click.IntRange(1), default=200, show_default=True, help="Questions to ask.")
@click.option("--clients", type=click.IntRange(1), default=50, show_default=True, help="Clients at once.")
@click.option("--option", "options", multiple=True, help="A further word of the command; repeat it.")
@save_option
def main(
    rung: str,
    questions: Path,
    predictions: Path | None,
    rows: int,
    clients: int,
    options: tuple[str, ...],
    save: Path | None,
) -> None:
    """Time the server of a rung."""
    items = read_rows(questions, QUESTIONS).to_pylist()
    offline: dict[str, float] = {}
    if predictions is not None:
        for row in read_rows(predictions, PREDICTIONS).to_pylist():
            offline.setdefault(row["item_id"], row["p_needed"])  # the first seed's rows come first
        items = [item for item in items if item["item_id"] in offline]
    bodies = [body_of(item) for item in items[:rows]]
    with server([rung, *options]) as (address, process):
        before = process.memory_info().rss / MIB
        asyncio.run(ask(address, bodies[:1], 1))  # a first answer compiles and allocates
        single = asyncio.run(ask(address, bodies, 1))
        several = asyncio.run(ask(address, bodies, clients))
        after = process.memory_info().rss / MIB
    far, changed = differences(single.answers, several.answers)
    lines = [
        "| clients | p50, ms | p95, ms | questions a second |",
        "| --- | ---: | ---: | ---: |",
        row_of("1", single),
        row_of(str(clients), several),
        "",
        f"{rung}, {len(bodies)} questions; memory {before:.0f} MiB before them, {after:.0f} MiB after. Alone or with "
        f"others: {changed} answers differ, probabilities by {far:.1g} at most.",
    ]
    figures: dict[str, float | str] = {
        "p50_ms": float(1000 * np.quantile(single.seconds, 0.5)),
        "p95_ms": float(1000 * np.quantile(single.seconds, 0.95)),
        "many_p95_ms": float(1000 * np.quantile(several.seconds, 0.95)),
        "memory_mib": after,
        "changed": changed,
    }
    if offline:
        pairs = zip(items, single.answers, strict=False)
        away = max(abs(offline[item["item_id"]] - answer["p_needed"]) for item, answer in pairs)
        figures["from_offline"] = away
        lines.append(f"From the probabilities of stages.predict they differ by {away:.1g} at most.")
    rests_on = known(Path("data/labelled.parquet"), Path("data/adapters"))
    publish(save, __spec__.name, "\n".join(lines), rests_on, figures)


if __name__ == "__main__":
    main()
