"""How close the judge behind an endpoint comes to the limit of its concurrency, on a server with a fixed delay.

Run it in the repository's root, on idle cores; it takes half a minute.

Example:
    python -m benchmarks.judge_throughput --concurrency 1 --concurrency 4 --concurrency 16 --concurrency 64

A local server, in a separate process, answers every request after ``--delay`` seconds, so n concurrent requests allow
n / delay a second. Every text is different, every answer is committed before its worker's next request, and the time is
that of the whole run, from Arrow column to scores. A second run over the same texts must send nothing. "bare" is the
best that Python can do: as many sockets, each writing as many bytes and reading the answer, without a client library,
checks, retries or a cache. Prints a Markdown table.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import click
import pyarrow as pa

from benchmarks.results import publish, save_option
from chatladder.io.console import SETTINGS, DataError, InputFile, example
from chatladder.judges import llm

CONCURRENCIES = (1, 4, 16, 64)
PROMPT = Path("chatladder/judges/prompts/question.txt")


class Measured(NamedTuple):
    """One run and its repetition."""

    concurrency: int
    requests: int
    seconds: float
    seconds_again: float
    bare_seconds: float


class Chat:
    """Turns with different texts."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def texts(self) -> Iterator[list[str]]:
        yield [f"how do I install number {number}?" for number in range(self.num_rows)]

    def ids(self) -> Iterator[pa.ChunkedArray]:
        yield pa.chunked_array([[str(number) for number in range(self.num_rows)]])


@contextmanager
def server(delay: float) -> Iterator[str]:
    """Start the server and yield its address."""
    command = [sys.executable, "-m", "tests.endpoint_server", "--delay", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def measure(base_url: str, prompt: Path, concurrency: int, texts: int) -> Measured:
    """Score ``texts`` texts twice.

    Raises:
        DataError: If the first run did not send one request for each, or the second sent any.
    """
    settings = llm.LlmSettings(
        base_url=base_url,
        model="fixed",
        prompt=prompt,
        key_variable="",
        structured="always",
        answer_limit="max_completion_tokens",
        max_answer_tokens=32,
        max_characters=2000,
        temperature=0.0,
        seed=0,
        extra_body="",
        concurrency=concurrency,
        requests_per_minute=0,
        tokens_per_minute=0,
        max_requests=texts,
        max_tokens=10**9,
        timeout=30.0,
        max_retries=0,
    )
    seconds = []
    chat: Any = Chat(texts)
    with tempfile.TemporaryDirectory() as folder:
        for expected in (texts, 0):
            start = perf_counter()
            _, report = llm.score(chat, settings, Path(folder), lambda line: None)
            seconds.append(perf_counter() - start)
            if report.requests != expected:
                raise DataError(f"expected {expected} requests, got {report.requests}.")
    first, again = seconds
    return Measured(concurrency, texts, first, again, asyncio.run(bare(base_url, prompt, concurrency, texts)))


async def bare(base_url: str, prompt: Path, concurrency: int, texts: int) -> float:
    """Return the seconds that bare sockets take for as many requests of the same size."""
    host, port = base_url.split("/")[2].split(":")
    messages = [{"role": "system", "content": prompt.read_text("utf-8")}, {"role": "user", "content": "x" * 300}]
    body = json.dumps({"model": "fixed", "messages": messages}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def worker(share: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(share):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    start = perf_counter()
    await asyncio.gather(*(worker(texts // concurrency) for _ in range(concurrency)))
    return perf_counter() - start


def table(runs: list[Measured], delay: float) -> str:
    """Return a Markdown table of requests a second, and their share of what the concurrency allows."""
    lines = [
        "| concurrency | requests | seconds | requests/s | allowed | share | bare | second run: requests | seconds |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        rate, allowed = run.requests / run.seconds, run.concurrency / delay
        lines.append(
            f"| {run.concurrency} | {run.requests:,} | {run.seconds:.1f} | {rate:.0f} | {allowed:.0f} "
            f"| {rate / allowed:.0%} | {run.requests / run.bare_seconds / allowed:.0%} | 0 | {run.seconds_again:.2f} |"
        )
    return "\n".join(lines)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option(
    "--concurrency",
    "concurrencies",
    type=click.IntRange(1),
    multiple=True,
    default=CONCURRENCIES,
    show_default=True,
    help="Requests at once; once for each.",
)
@click.option("--delay", type=click.FloatRange(0, min_open=True), default=0.05, show_default=True, help="Seconds.")
@click.option("--seconds", type=click.FloatRange(1), default=6.0, show_default=True, help="Least length of a run.")
@click.option("--prompt", type=InputFile, default=PROMPT, help=f"Task to send along.  [default: {PROMPT}]")
@save_option
def main(concurrencies: tuple[int, ...], delay: float, seconds: float, prompt: Path, save: Path | None) -> None:
    """Print how many requests a second the judge sends to a server of fixed delay."""
    with server(delay) as base_url:
        # The first run of a process imports the client.
        measure(base_url, prompt, 1, 2)
        runs = []
        for concurrency in concurrencies:
            runs.append(measure(base_url, prompt, concurrency, round(concurrency * seconds / delay)))
            click.echo(f"{concurrency}: {runs[-1].seconds:.1f} s", err=True)
    publish(save, __spec__.name, table(runs, delay))


if __name__ == "__main__":
    main()
