r"""Speed of scoring: options side by side after a shared prefix, compared with separate passes and with generation.

Run it in the repository's root, on idle cores.

Example:
    python -m benchmarks.score --base data/bases/smollm2_135m --alpaca data/alpaca --rows 200 --rounds 3
    python -m benchmarks.score --base data/bases/small --adapter data/adapters/small \
        --questions data/questions.parquet --language zh --answer text --rows 500 --rounds 5

The same model answers the same rows in one process, after a warm-up, in four ways that take turns; each round begins
with another way, and each way's time includes tokenizing. ``ours`` is the way of chatladder predict. "without the
shared beginning" reads every prompt whole. "three passes" reads each prompt once for each option and looks up the
option's log-probability, as evaluation harnesses do. "two generations" is the published way (arXiv 2405.02817): the
model answers freely, and is then asked which option that answer means; both are greedy, and the text of the second is
parsed. The published scripts do not limit the first answer, so a small ``--free-tokens`` is in its favour. Rows of a
batch have similar lengths, and all batches the same limit of tokens. Prints a Markdown table.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import patch

import click
import numpy as np
from tqdm import tqdm

from benchmarks.results import publish, save_option
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, Prompt, PromptSettings, render_row
from chatladder.vocabulary import ANSWERS

#: The text of the second question before and after the first answer, and before the options.
SECOND = {
    "zh": ("有人在做单选题，他写道：\n", "\n他选的是哪一项？只写选项。\n选项：", "\n答案："),
    "en": ("Somebody was given a choice of three options and wrote:\n", "\nWhich one is it? Options: ", "\nAnswer:"),
}
OURS, APART, PASSES, GENERATIONS = "ours", "without the shared beginning", "three passes", "two generations"


class Found(NamedTuple):
    """The results of one way.

    Attributes:
        scores: Log-probabilities of the options in nats, shape (n, 3); None if the way has none.
        answers: Index in ``ANSWERS`` of each item's answer, -1 if it cannot be parsed, shape (n,).
    """

    scores: np.ndarray | None
    answers: np.ndarray


class Ways:
    """The ways to answer prompts, and their shared settings."""

    def __init__(self, model: Any, tokenizer: Any, language: str, max_length: int, limits: tuple[int, int]) -> None:
        self.model, self.tokenizer, self.language, self.max_length = model, tokenizer, language, max_length
        self.free_tokens, self.answer_tokens = limits
        self.all: dict[str, Callable[[Sequence[Prompt]], Found]] = {
            OURS: self.ours,
            APART: self.apart,
            PASSES: self.three_passes,
            GENERATIONS: self.two_generations,
        }

    def ours(self, prompts: Sequence[Prompt]) -> Found:
        from chatladder.models.scoring import score

        scores, _ = score(self.model, self.tokenizer, prompts, self.max_length)
        return Found(scores, scores.argmax(axis=1))

    def apart(self, prompts: Sequence[Prompt]) -> Found:
        from chatladder.models import scoring

        with patch.object(scoring, "shared_length", lambda *_: 0):
            return self.ours(prompts)

    def three_passes(self, prompts: Sequence[Prompt]) -> Found:
        """Read each prompt with each of its options; compute logits only where the option is predicted."""
        import torch

        from chatladder.models.batches import on_device, pad_left
        from chatladder.models.encoding import encode_options, encode_prompts
        from chatladder.models.scoring import length_batches

        texts = encode_options(self.tokenizer, [prompt.options for prompt in prompts], prompts[0].instruction)
        options = [[ids[name] for name in ANSWERS] for ids in texts]
        longest = max(len(ids) for row in options for ids in row)
        rows, _ = encode_prompts(self.tokenizer, [p.instruction for p in prompts], self.max_length - longest)
        asked = [(item, column) for item in range(len(rows)) for column in range(len(ANSWERS))]
        # An option's last token is predicted and never read.
        wholes = [rows[item] + options[item][column][:-1] for item, column in asked]
        scores = np.zeros((len(rows), len(ANSWERS)))
        for batch in length_batches([len(whole) for whole in wholes]):
            inputs = pad_left([wholes[index] for index in batch], self.tokenizer.pad_token_id)
            kept = max(len(options[asked[index][0]][asked[index][1]]) for index in batch)
            with torch.inference_mode():
                logits = self.model(**on_device(inputs, self.model.device), logits_to_keep=kept).logits
                logarithms = logits.float().log_softmax(-1).cpu()
            for at, index in enumerate(batch):
                item, column = asked[index]
                ids = torch.tensor(options[item][column])
                places = torch.arange(kept - len(ids), kept)
                scores[item, column] = logarithms[at, places, ids].double().sum()
        return Found(scores, scores.argmax(axis=1))

    def two_generations(self, prompts: Sequence[Prompt]) -> Found:
        """Let the model answer, then ask it which option that was, and search an option in its reply."""
        first = self._written([prompt.instruction for prompt in prompts], self.free_tokens)
        before, between, end = SECOND[self.language]
        asked = [
            before + text.strip() + between + "/".join(prompt.options.values()) + end
            for prompt, text in zip(prompts, first, strict=True)
        ]
        second = self._written(asked, self.answer_tokens)
        return Found(None, np.array([parse(text, p.options) for text, p in zip(second, prompts, strict=True)]))

    def _written(self, instructions: Sequence[str], most: int) -> list[str]:
        import torch
        from transformers import GenerationConfig

        from chatladder.models.batches import pad_left
        from chatladder.models.encoding import encode_prompts
        from chatladder.models.scoring import length_batches

        known, filler = self.model.generation_config, self.tokenizer.pad_token_id
        ends = getattr(known, "eos_token_id", None) or self.tokenizer.eos_token_id
        greedy = GenerationConfig(do_sample=False, max_new_tokens=most, eos_token_id=ends, pad_token_id=filler)
        rows, _ = encode_prompts(self.tokenizer, instructions, self.max_length - most)
        texts = [""] * len(rows)
        for batch in length_batches([len(ids) for ids in rows]):
            inputs = pad_left([rows[index] for index in batch], filler)
            del inputs["position_ids"]  # generate counts them itself
            inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
            with torch.inference_mode():
                written = self.model.generate(**inputs, generation_config=greedy)
            for index, tokens in zip(batch, written[:, inputs["input_ids"].shape[1] :], strict=True):
                texts[index] = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
        return texts


def parse(text: str, options: dict[str, str]) -> int:
    """Return the index in ``ANSWERS`` of the option at the start of a text, or of the only one in it; else -1."""
    said = text.strip().casefold()
    wanted = [options[name].casefold() for name in ANSWERS]
    begins = [at for at, option in enumerate(wanted) if said.startswith(option)]
    holds = [at for at, option in enumerate(wanted) if option in said]
    found = begins or holds
    return found[0] if len(found) == 1 else -1


def read_prompts(
    questions: Path | None, alpaca: Path | None, count: int, *, language: str, answer: str, seed: int
) -> list[Prompt]:
    """Return ``count`` prompts, drawn at random from questions or from all splits of alpaca rows."""
    from chatladder.io.rows import QUESTIONS, SPLITS, read_rows
    from chatladder.models.prompts import read_alpaca

    if questions is not None:
        items = read_rows(questions, QUESTIONS).to_pylist()
        prompts = [render_row(item, PromptSettings(language, answer, seed)) for item in items]
    elif alpaca is not None:
        rows = [row for split in SPLITS for row in read_alpaca(alpaca / f"{split}.json")]
        prompts = [Prompt(row["instruction"], row["options"]) for row in rows]
    if len(prompts) < count:
        raise click.UsageError(f"--rows: expected at most the {len(prompts):,} rows that there are, got {count:,}.")
    return Random(seed).sample(prompts, count)


def measure(
    ways: dict[str, Callable[[Sequence[Prompt]], Found]], prompts: Sequence[Prompt], rounds: int
) -> tuple[dict[str, list[float]], dict[str, Found]]:
    """Return items a second of each way in each round, and its results; each round begins with another way."""
    names = list(ways)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    found = {name: way(prompts[: max(2, len(prompts) // 8)]) for name, way in ways.items()}  # warms up
    for number in range(rounds):
        start = number % len(names)
        for name in tqdm(names[start:] + names[:start], desc=f"round {number + 1}", disable=None):
            begun = perf_counter()
            found[name] = ways[name](prompts)
            speeds[name].append(len(prompts) / (perf_counter() - begun))
    return speeds, found


def table(speeds: dict[str, list[float]], found: dict[str, Found]) -> str:
    """Return the Markdown table: speeds, their ratio to ours, and differences from the answers of three passes."""
    lines = [
        "| scoring | items/s (range) | to ours | log-probabilities differ by at most | other answers | unreadable |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    true = found[PASSES]
    ours = median(speeds[OURS])
    for name, rates in speeds.items():
        mine = found[name]
        apart = "" if mine.scores is None or name == PASSES else f"{np.abs(mine.scores - true.scores).max():.1e}"
        unread = mine.answers < 0
        other = "" if name == PASSES else f"{int(((mine.answers != true.answers) & ~unread).sum())}"
        spread = f"{median(rates):,.2f} ({min(rates):,.2f}-{max(rates):,.2f})"
        said = f"{int(unread.sum())}" if mine.scores is None else ""
        lines.append(f"| {name} | {spread} | {median(rates) / ours:.2f} | {apart} | {other} | {said} |")
    return "\n".join(lines)


def setting(model: Any, tokenizer: Any, prompts: Sequence[Prompt], max_length: int) -> str:
    """Return one line on the setup: the device, the data types, and the lengths of the prompts."""
    import torch

    from chatladder.models.batches import shared_length
    from chatladder.models.encoding import encode_prompts

    rows, _ = encode_prompts(tokenizer, [prompt.instruction for prompt in prompts], max_length)
    place = torch.cuda.get_device_name() if model.device.type == "cuda" else f"{torch.get_num_threads()} thread(s)"
    dtype = str(model.dtype).removeprefix("torch.")
    mean = sum(map(len, rows)) / len(rows)
    return (
        f"{len(rows):,} rows of {mean:.0f} tokens on average, {shared_length(model, rows)} of them shared; {dtype}, "
        f"{place}."
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--adapter", type=InputFolder, help="Adapter folder that stages.train wrote.")
@click.option("--questions", type=InputFile, help="Questions, labelled or not (parquet).")
@click.option("--alpaca", type=InputFolder, help="Folder that stages.to_alpaca wrote, in place of questions.")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Of the prompts.")
@click.option(
    "--answer", type=click.Choice(ANSWER_FORMS), default="text", show_default=True, help="Form of the answer."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of options, and of which rows.")
@click.option("--rows", type=click.IntRange(2), default=200, show_default=True, help="Rows in a round.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each way.")
@click.option("--max-length", type=click.IntRange(64), default=1400, show_default=True, help="As for predict.")
@click.option("--free-tokens", type=click.IntRange(1), default=8, show_default=True, help="Of the first generation.")
@click.option("--answer-tokens", type=click.IntRange(1), default=8, show_default=True, help="Of the second one.")
@save_option
def main(
    base: Path,
    adapter: Path | None,
    questions: Path | None,
    alpaca: Path | None,
    language: str,
    answer: str,
    seed: int,
    rows: int,
    rounds: int,
    max_length: int,
    free_tokens: int,
    answer_tokens: int,
    save: Path | None,
) -> None:
    """Print items a second of four ways to answer, and whether they agree."""
    if (questions is None) == (alpaca is None):
        raise click.UsageError("expected one of --questions and --alpaca.")
    prompts = read_prompts(questions, alpaca, rows, language=language, answer=answer, seed=seed)

    from chatladder.models.loading import load

    model, tokenizer = load(base, adapter)
    ways = Ways(model, tokenizer, language, max_length, (free_tokens, answer_tokens))
    speeds, found = measure(ways.all, prompts, rounds)
    text = f"{table(speeds, found)}\n\n{setting(model, tokenizer, prompts, max_length)}"
    publish(save, __spec__.name, text)


if __name__ == "__main__":
    main()
