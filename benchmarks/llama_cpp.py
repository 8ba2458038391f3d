r"""Speed of scoring compared with llama.cpp, on the same GGUF file, the same threads and the same questions.

Example:
    python -m benchmarks.llama_cpp --gguf models/qwen_0_5b.gguf --base data/bases/qwen_0_5b \
        --questions data/labelled.parquet --rows 60

The base is the one that stages.base made from that file. llama.cpp (the wheel of xllamacpp, a server in a separate
process) gets each prompt as our token ids, and predicts one token: the log-probabilities of the options' first tokens
are taken from it. Its prefix cache is on, so that the shared prefix of all prompts is read once. It is run with one
slot and with several, and the fastest counts. We score whole options, which is a little more work. The sides take
turns, part by part, so that other load on the machine slows all of them. Ours computes in bfloat16 and float32 with
dequantised weights, llama.cpp with the file's own. Prints a Markdown table.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import click
import numpy as np

from benchmarks.cpu_dtype import TYPES, Measured, auroc_cell, load_average, read_items, take_turns
from benchmarks.results import known, publish, save_option
from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, example
from chatladder.io.options import options_of
from chatladder.models.prompts import Prompt, PromptSettings, render_row
from chatladder.vocabulary import ANSWERS

SERVER = """
import sys, threading
import xllamacpp
path, slots, threads, context = sys.argv[1], *map(int, sys.argv[2:5])
params = xllamacpp.CommonParams()
params.model.path = path
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_parallel, params.n_ctx = slots, slots * context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0) for adapter in sys.argv[5:]]
server = xllamacpp.Server(params)
print("address", server.listening_address, flush=True)
threading.Event().wait()
"""
#: The number of likeliest tokens for which llama.cpp returns log-probabilities; a missing option counts as the last.
LIKELIEST = 1000
HEADS = ("scoring", "questions/s (parts)", "to llama.cpp", "AUROC", "order of log-odds (Spearman)", "other answers")


@contextmanager
def server(
    gguf: Path, slots: int, threads: int, context: int, adapters: Sequence[Path] = ()
) -> Iterator[tuple[str, int]]:
    """Start llama.cpp with a model, and GGUF adapters on it; yield its address and the id of its process."""
    command = [sys.executable, "-c", SERVER, *map(str, (gguf, slots, threads, context, *adapters))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = next((line.split()[1] for line in process.stdout or () if line.startswith("address ")), None)
        if address is None:
            raise DataError(f"{gguf}: expected llama.cpp to load it, got the exit code {process.wait()}.")
        yield address, process.pid
    finally:
        process.kill()
        process.wait()


class LlamaCpp:
    """Scores prompts with a llama.cpp server."""

    def __init__(self, address: str, slots: int, tokenizer: Any, max_length: int) -> None:
        self.address, self.slots, self.tokenizer, self.max_length = address, slots, tokenizer, max_length

    def score(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Return the log-probabilities of the options' first tokens, shape (n, 3)."""
        with ThreadPoolExecutor(self.slots) as pool:
            return np.array([*pool.map(lambda request: self.ask(*request), self.requests(prompts))])

    def requests(self, prompts: Sequence[Prompt]) -> "zip[tuple[list[int], list[int]]]":
        """Return the token ids of each prompt, and of the first token of each of its options.

        Raises:
            DataError: If two options begin with the same token.
        """
        from chatladder.models.encoding import encode_options, encode_prompts

        texts = encode_options(self.tokenizer, [prompt.options for prompt in prompts], prompts[0].instruction)
        options = [[ids[name][0] for name in ANSWERS] for ids in texts]
        if any(len({*row}) < len(ANSWERS) for row in options):
            raise DataError("--answer: expected options that differ in their first token, got others. Take lettered.")
        longest = max(len(ids) for row in texts for ids in row.values())
        rows, _ = encode_prompts(self.tokenizer, [prompt.instruction for prompt in prompts], self.max_length - longest)
        return zip(rows, options, strict=True)

    def ask(self, ids: list[int], options: list[int]) -> list[float]:
        """Return the log-probability of each option's first token after a prompt."""
        asked = {"prompt": ids, "n_predict": 1, "n_probs": LIKELIEST, "temperature": 0, "cache_prompt": True}
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{self.address}/completion", json.dumps(asked).encode(), headers)) as reply:
            likeliest = json.load(reply)["completion_probabilities"][0]["top_logprobs"]
        logarithms = {each["id"]: each["logprob"] for each in likeliest}
        return [logarithms.get(option, min(logarithms.values())) for option in options]


def table(found: dict[str, Measured], items: Sequence[Any]) -> list[str]:
    """Return the lines of the Markdown table; the others are compared with the fastest llama.cpp."""
    from scipy.stats import spearmanr

    theirs = min((name for name in found if name not in TYPES), key=lambda name: sum(found[name].seconds))
    lines = [f"| {' | '.join(HEADS)} |", f"| --- |{' ---: |' * (len(HEADS) - 1)}"]
    for name, each in found.items():
        rates = [len(items) / len(each.seconds) / seconds for seconds in each.seconds]
        cells = [name, f"{len(items) / sum(each.seconds):.2f} ({min(rates):.2f}-{max(rates):.2f})"]
        cells += [f"{sum(found[theirs].seconds) / sum(each.seconds):.2f}", auroc_cell(items, each.odds)]
        order = "" if name == theirs else f"{spearmanr(each.odds, found[theirs].odds).statistic:.3f}"
        others = (each.scores.argmax(axis=1) != found[theirs].scores.argmax(axis=1)).sum()
        lines.append(f"| {' | '.join([*cells, order, '' if name == theirs else str(others)])} |")
    return lines


def write_adapter(adapter: Path, base: Path, folder: Path) -> Path:
    """Write an adapter as export does for llama.cpp, and return the file.

    Raises:
        DataError: If it cannot be converted.
    """
    from chatladder.cli.export.llama_cpp import FILE, write_gguf

    if reason := write_gguf(adapter, base, folder / FILE):
        raise DataError(f"{adapter}: expected an adapter that llama.cpp can load, got another: {reason}.")
    return folder / FILE


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--gguf", type=InputFile, required=True, help="The file.")
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base made of it.")
@click.option(
    "--adapter", type=InputFolder, help="An adapter of it, which both sides put on; export writes llama.cpp's."
)
@click.option("--questions", type=InputFile, required=True, help="Questions, labelled or not (parquet).")
@click.option("--rows", type=click.IntRange(2), default=60, show_default=True, help="Questions drawn.")
@click.option("--parts", type=click.IntRange(1), default=4, show_default=True, help="Turns of each side.")
@click.option("--slots", type=click.IntRange(2), default=4, show_default=True, help="Questions llama.cpp has at once.")
@click.option("--max-length", type=click.IntRange(64), default=1400, show_default=True, help="As for predict.")
@options_of(PromptSettings, "prompt")
@save_option
def main(
    gguf: Path,
    base: Path,
    adapter: Path | None,
    questions: Path,
    rows: int,
    parts: int,
    slots: int,
    max_length: int,
    prompt: PromptSettings,
    save: Path | None,
) -> None:
    """Print questions a second of ours and of llama.cpp, and whether both read the same model."""
    import torch

    from benchmarks.score import setting
    from chatladder.models.loading import load
    from chatladder.models.scoring import score

    items = read_items(questions, rows, prompt.seed)
    prompts = [render_row(item, prompt) for item in items]
    threads, before = torch.get_num_threads(), load_average()
    models = {name: load(base, adapter, dtype=getattr(torch, name)) for name in TYPES}
    model, tokenizer = models[TYPES[-1]]
    sides: dict[str, Callable[[Sequence[Prompt]], np.ndarray]] = {
        name: lambda some, pair=pair: score(pair[0], pair[1], some, max_length)[0] for name, pair in models.items()
    }
    with ExitStack() as stack:
        adapters = [write_adapter(adapter, base, Path(stack.enter_context(TemporaryDirectory())))] if adapter else []
        for count in (1, slots):
            address, _ = stack.enter_context(server(gguf, count, threads, max_length, adapters))
            sides[f"llama.cpp, {count} at once"] = LlamaCpp(address, count, tokenizer, max_length).score
        found = take_turns(sides, prompts, min(parts, len(items)))
    about = setting(model, tokenizer, prompts, max_length).replace(f"; {TYPES[-1]}", "")
    said = f"{gguf.name}, {gguf.stat().st_size / 2**20:,.0f} MiB. {about} {before} before, {load_average()} after."
    publish(save, __spec__.name, "\n".join([*table(found, items), "", said]), known(questions, base))


if __name__ == "__main__":
    main()
