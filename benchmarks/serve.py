r"""The cost of ``chatladder serve``: time of a question, memory, many clients at once; and whether answers agree.

Run it in the repository's root, on idle cores.

Example:
    python -m benchmarks.serve embedded_700k --questions data/labelled.parquet \
        --predictions data/predictions/tuned/embedded_700k.parquet

The command is started as a user would start it, and asked over HTTP by this process. First one client asks one question
after another. Then many concurrent clients ask one each, repeatedly, until every question was asked once more; the time
of a question is then from its request to its answer, including the wait for earlier ones. Memory is that of the
server's process, before the first question and at the end. ``--predictions`` are the output of stages.predict for the
same questions: the largest difference of a probability is printed.

With ``--gguf``, the file that the rung's base was made from, llama.cpp's server (the wheel of xllamacpp) is asked the
same afterwards: the same prompts as token ids, one token each, with the rung's adapter as ``chatladder export`` writes
it. It runs with 1 slot and with 4, and the faster for many clients counts; its prefix cache is on. It reads only the
first order of the options, and only the first token of each option; ours reads the options whole. Prints a Markdown
table.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import click
import httpx2
import numpy as np
import psutil

from benchmarks.llama_cpp import LlamaCpp, write_adapter
from benchmarks.llama_cpp import server as llama_cpp_server
from benchmarks.results import known, publish, save_option
from chatladder.cli.answering import ModelOptions, settings_of
from chatladder.cli.export.record import Settings
from chatladder.io.console import SETTINGS, DataError, InputFile, example
from chatladder.io.options import options_of
from chatladder.io.rows import PREDICTIONS, QUESTIONS, read_rows
from chatladder.models.prompts import render_row
from chatladder.vocabulary import ANSWERS, POSITIVE

MIB = 2**20
#: The numbers of slots that llama.cpp is run with.
SLOTS = (1, 4)


class Asked(NamedTuple):
    """The answers to many requests.

    Attributes:
        p_needed: The probability of "needed" of each question, shape (n,).
        seconds: The time of each question, shape (n,).
        whole: Seconds from the first request to the last answer.
    """

    p_needed: np.ndarray
    seconds: np.ndarray
    whole: float


class Side(NamedTuple):
    """One server: the results of one client and of many, and its memory in MiB before the questions and after."""

    name: str
    single: Asked
    several: Asked
    before: float
    after: float

    @property
    def apart(self) -> float:
        """The largest difference between probabilities of a question asked alone and with others."""
        return float(np.abs(self.single.p_needed - self.several.p_needed).max())


#: Asks the question of a number, and returns the probability of "needed".
Ask = Callable[[int], float]


def ask_all(ask: Ask, count: int, clients: int) -> Asked:
    """Ask every question once, with ``clients`` concurrent requests."""

    def one(number: int) -> tuple[float, float]:
        start = perf_counter()
        return ask(number), perf_counter() - start

    start = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers, seconds = zip(*pool.map(one, range(count)), strict=True)
    return Asked(np.array(answers), np.array(seconds), perf_counter() - start)


def measure(name: str, ask: Ask, count: int, clients: int, process: psutil.Process) -> Side:
    """Ask one server all questions, with one client and with many."""
    before = process.memory_info().rss / MIB
    ask(0)  # a first answer compiles and allocates
    single, several = (ask_all(ask, count, number) for number in (1, clients))
    return Side(name, single, several, before, process.memory_info().rss / MIB)


def body_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a question as the server expects it."""
    history = [{"sender": turn["sender"], "text": turn["text"]} for turn in row["window"]]
    return {
        "history": history,
        "question": {"sender": row["sender"], "text": row["text"]},
        "item_id": row["item_id"],
    }


@contextmanager
def server(words: Sequence[str]) -> Iterator[tuple[str, psutil.Process]]:
    """Start the command; yield its address and its process.

    Raises:
        DataError: If it exits at once.
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


def ours(words: Sequence[str], items: Sequence[Mapping[str, Any]], clients: int) -> Side:
    """Measure ``chatladder serve``."""
    bodies = [body_of(item) for item in items]
    limits = httpx2.Limits(max_connections=clients)
    with (
        server(words) as (address, process),
        httpx2.Client(base_url=address, timeout=600, limits=limits, trust_env=False) as client,
    ):

        def ask(number: int) -> float:
            reply = client.post("/v1/questions", json=bodies[number])
            return float(reply.raise_for_status().json()["p_needed"])

        return measure("chatladder serve", ask, len(items), clients, process)


def theirs(
    gguf: Path, base: Path, adapter: Path, settings: Settings, items: Sequence[Mapping[str, Any]], clients: int
) -> Side:
    """Measure llama.cpp's server with the slots that answer many clients fastest."""
    import torch

    from chatladder.models.loading import load

    prompts = [render_row(item, settings.prompt) for item in items]
    _, tokenizer = load(base)
    sides = []
    with TemporaryDirectory() as folder:
        adapters = [write_adapter(adapter, base, Path(folder))]
        for slots in SLOTS:
            options = (gguf, slots, torch.get_num_threads(), settings.max_length, adapters)
            with llama_cpp_server(*options) as (address, pid):
                model = LlamaCpp(address, slots, tokenizer, settings.max_length)
                requests = [*model.requests(prompts)]

                def ask(number: int, model: LlamaCpp = model, requests: Sequence[Any] = requests) -> float:
                    shares = np.exp(model.ask(*requests[number]))
                    return float(shares[ANSWERS.index(POSITIVE)] / shares.sum())

                name = f"llama.cpp, slots: {slots}"
                sides.append(measure(name, ask, len(items), clients, psutil.Process(pid)))
    return min(sides, key=lambda side: side.several.whole)


def row_of(name: str, clients: int, asked: Asked) -> str:
    """Return a row of the table."""
    middle, slow = (1000 * np.quantile(asked.seconds, share) for share in (0.5, 0.95))
    return f"| {name} | {clients} | {middle:.0f} | {slow:.0f} | {len(asked.seconds) / asked.whole:.1f} |"


def table(sides: Sequence[Side], clients: int) -> list[str]:
    """Return the lines of the table in Markdown, and a line on each server."""
    lines = ["| server | clients | p50, ms | p95, ms | questions a second |", "| --- | ---: | ---: | ---: | ---: |"]
    for side in sides:
        lines += [row_of(side.name, 1, side.single), row_of(side.name, clients, side.several)]
    lines.append("")
    lines += [
        f"{side.name}: memory {side.before:.0f} MiB before the questions, {side.after:.0f} MiB after. Asked alone or "
        f"with others, a probability differs by {side.apart:.1g} at most.  "
        for side in sides
    ]
    return lines


def beside(own: Side, other: Side) -> str:
    """Return how the answers of two servers compare."""
    from scipy.stats import spearmanr

    gap = np.abs(own.single.p_needed - other.single.p_needed)
    order = spearmanr(own.single.p_needed, other.single.p_needed).statistic
    return (
        f"Answers of both: p_needed differs by {gap.mean():.3f} on average and {gap.max():.2f} at most; their order is "
        f"the same to a Spearman correlation of {order:.3f}."
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("rung")
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--predictions", type=InputFile, help="What stages.predict wrote; its questions are asked alone.")
@click.option("--rows", type=click.IntRange(1), default=200, show_default=True, help="Questions to ask.")
@click.option("--clients", type=click.IntRange(1), default=50, show_default=True, help="Clients at once.")
@click.option("--gguf", type=InputFile, help="File of the rung's base: llama.cpp is asked the same.")
@options_of(ModelOptions, "model_options")
@options_of(Settings, "given", partial=True)
@save_option
def main(
    rung: str,
    questions: Path,
    predictions: Path | None,
    rows: int,
    clients: int,
    gguf: Path | None,
    model_options: ModelOptions,
    given: Mapping[str, Any],
    save: Path | None,
) -> None:
    """Time the server of a rung."""
    items = read_rows(questions, QUESTIONS).to_pylist()
    offline: dict[str, float] = {}
    if predictions is not None:
        for row in read_rows(predictions, PREDICTIONS).to_pylist():
            offline.setdefault(row["item_id"], row["p_needed"])  # the first seed's rows come first
        items = [item for item in items if item["item_id"] in offline]
    items = items[:rows]
    bases, adapters = model_options.bases, model_options.adapters
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    own = ours([rung, f"--bases={bases}", f"--adapters={adapters}", *words], items, clients)
    sides = [own]
    if gguf is not None:
        settings = settings_of(rung, model_options, given)
        sides.append(theirs(gguf, bases / rung, adapters / rung, settings, items, clients))
    lines = [*table(sides, clients), f"{rung}, {len(items)} questions."]
    lines += [beside(*sides)] if len(sides) > 1 else []
    figures: dict[str, float | str] = {
        "p50_ms": float(1000 * np.quantile(own.single.seconds, 0.5)),
        "p95_ms": float(1000 * np.quantile(own.single.seconds, 0.95)),
        "many_p95_ms": float(1000 * np.quantile(own.several.seconds, 0.95)),
        "memory_mib": own.after,
        "apart": own.apart,
    }
    if offline:
        expected = np.array([offline[item["item_id"]] for item in items])
        figures["from_offline"] = float(np.abs(own.single.p_needed - expected).max())
        lines.append(f"From the probabilities of stages.predict ours differ by {figures['from_offline']:.1g} at most.")
    publish(save, __spec__.name, "\n".join(lines), known(questions, adapters / rung), figures)


if __name__ == "__main__":
    main()
