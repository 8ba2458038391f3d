"""The estimated time of a rung: the operations of its stages over the measured speed of a machine.

A token costs two operations per weight that it passes through, without the embedding; the output layer costs them at
the few positions that are read. Training costs two such passes for an adapter, three for all weights, and one more for
gradient checkpointing; the prefix of all prompts is processed once a batch. A machine reaches ``EFFICIENCY`` of the
speed of a plain matrix product, which is measured (``matmul_speed``). Downloads are not counted.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, QUESTIONS, Rows, count_other_chats
from chatladder.models.memory import ANSWER_TOKENS, Shape, parameters
from chatladder.models.prompts import USUAL_ORDERS, WORDINGS, wording_of

if TYPE_CHECKING:
    import torch

#: The share of a matrix product's speed that a model reaches. On two cores of an EPYC with AVX512-BF16, where a product
#: reaches 180e9 operations a second in float32 and 400e9 in bfloat16, Qwen2.5 0.5B read 105 tokens a second in
#: float32 (.42) and 219-240 in bfloat16 (.39-.43) with one core busy, and 310 with none (.55). A thread on a busy
#: machine took 14.9 s of CPU time to train on 8 rows of 174 tokens (.45). SmolLM2 135M answered 16 questions in 18 s of
#: one core; the estimate is 17 s. Not measured on a GPU.
EFFICIENCY = 0.5
#: The cost of dequantizing a model in 4 or 8 bits in each pass. A guess: not measured.
QUANTIZED_COST = 1.5
#: Passes of a training step: forward, backward to the activations, and backward to the weights if they are trained.
ADAPTER_PASSES, FULL_PASSES = 2, 3
#: Seconds for a stage to load libraries and weights.
START = 15.0
#: Sides of the matrices whose product measures a machine, and the seconds that it is repeated for.
_SIDES, _SECONDS = (1024, 1024, 2048), 0.5
#: Tokens per character of Latin script, and of Chinese and the like. On 200 questions each about Ubuntu with 12 turns
#: before them, a prompt had 324 tokens of Qwen2.5 in Chinese and 412 in English, 442 of SmolLM2; the estimates are 325
#: and 456.
_LATIN, _OTHER = 0.27, 0.7
#: Tokens of a chat template, and of the speaker before each turn.
_CHAT, _SPEAKER = 25, 4
#: Tokens of a turn of unknown text, in a chat of any language.
_TURN = 20
#: Rows of a file whose texts are counted.
_SAMPLE = 500
#: Questions of a project that has none yet and draws no sample.
USUAL_QUESTIONS = 500


class Workload(NamedTuple):
    """The work of a run for each rung.

    Attributes:
        questions: Number of questions.
        trained: Number of rows that an adapter is trained on.
        validated: Number of rows of the validation split.
        tested: Number of rows of the test split.
        shared: Tokens of the prefix of all prompts.
        own: Tokens of a prompt's history and question, on average.
        order: Tokens of the options in one order.
        orders: Orders that an answer is averaged over.
        folds: Number of adapters that judge labels, for the rungs that do.
        is_counted: True if the questions exist; else their number and texts are assumed.
    """

    questions: int
    trained: int
    validated: int
    tested: int
    shared: int
    own: int
    order: int
    orders: int
    folds: int
    is_counted: bool

    @property
    def scored(self) -> int:
        """Tokens to process to score one question; the prefix of all prompts is processed once."""
        return self.own + self.orders * self.order

    @property
    def learned(self) -> int:
        """Tokens of one row in training."""
        return self.shared + self.own + self.order


@dataclass(frozen=True)
class Duration:
    """Seconds of a rung's stages.

    Attributes:
        untouched: The answers of the untouched model.
        training: The training of its adapters, one per seed.
        tuned: The answers of the adapters.
        folds: Adapters trained on other conversations, and their answers; 0 for rungs that do not judge labels.
    """

    untouched: float
    training: float
    tuned: float
    folds: float

    @property
    def total(self) -> float:
        """Seconds of the whole rung."""
        return self.untouched + self.training + self.tuned + self.folds


def section(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of params.yaml, empty if it is not one: the stages that need it report that."""
    content = params.get(name)
    return content if isinstance(content, Mapping) else {}


def tokens_of(text: str) -> float:
    """Return the approximate number of tokens of a text, for the tokenizer of a model that knows its language."""
    latin = sum(character < "\u2e80" for character in text)
    return _LATIN * latin + _OTHER * (len(text) - latin)


def workload(params: Mapping[str, Any], questions: Iterable[Mapping[str, Any]], counts: Mapping[str, int]) -> Workload:
    """Return the work of a run with these settings.

    Args:
        params: The sections of params.yaml.
        questions: Some questions, each with its window; if there are none, texts are assumed.
        counts: The number of ``questions``, and of rows by split, as far as they are known.
    """
    split, review, predict = (section(params, name) for name in ("split", "review", "predict"))
    prompt = section(params, "prompt")
    wording = wording_of(str(prompt.get("wording", WORDINGS[0])), str(prompt.get("language", "en")))
    options = tokens_of("/".join(wording.options.values()))
    window = int(section(params, "questions").get("window", 0))
    turns = min(window, int(prompt.get("turns", window)))
    texts = [[row, *reversed(row["window"])][: turns + 1] for row in questions]
    sizes = [sum(tokens_of(turn["text"]) + _SPEAKER for turn in shown) for shown in texts]
    own = sum(sizes) / len(sizes) if sizes else (turns + 1) * (_TURN + _SPEAKER)
    shared, order = int(tokens_of(wording.text)) + _CHAT, int(2 * options) + _CHAT // 2
    own = min(own, max(0, int(params.get("max_length", 1400)) - shared - order))
    sample = int(section(params, "questions").get("sample", 0))
    number = counts.get("questions") or sample or USUAL_QUESTIONS
    tested = counts.get("test", int(number * float(split.get("test", 0.25))))
    validated = counts.get("validation", int((number - tested) * float(split.get("validation", 0.1))))
    return Workload(
        questions=number,
        trained=counts.get("train", number - tested - validated),
        validated=validated,
        tested=tested,
        shared=shared,
        own=int(own),
        order=order,
        orders=int(predict.get("orders", USUAL_ORDERS)) if predict.get("by", "score") == "score" else 1,
        folds=int(review.get("folds", 0)),
        is_counted=bool(counts.get("questions")),
    )


def workload_of(params: Mapping[str, Any], data: Path | None) -> Workload:
    """Return the work of a run, from the questions and labels in a project's data if there are any.

    Args:
        params: The sections of params.yaml.
        data: The project's folder ``data``; None if there is none yet.
    """
    if data is None:
        return workload(params, (), {})
    counts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    with suppress(DataError):  # there are none yet, or the stage that reads them will say what is wrong
        path = data / "questions.parquet"
        counts["questions"] = Rows(path, QUESTIONS).num_rows
        rows = Rows(path, QUESTIONS, stop=_SAMPLE).table(["text", "window"]).to_pylist()
    with suppress(DataError):
        splits = Rows(data / "labelled.parquet", LABELLED).table(["split"])["split"].to_pylist()
        counts |= {split: splits.count(split) for split in ("train", "validation", "test")}
        counts["train"] += count_other_chats(data)
    try:
        return workload(params, rows, counts)
    except (DataError, KeyError, OSError, TypeError, ValueError):  # a stage refuses a wrong number or language
        return workload({}, (), {})


def duration(
    shape: Shape, work: Workload, train: Mapping[str, Any], speed: float, *, judges: bool, quantized: bool = False
) -> Duration:
    """Return the time of a rung.

    Args:
        shape: The model's shape.
        work: The work of the run.
        train: The section train of params.yaml, overridden by the rung's own.
        speed: Operations per second of a matrix product on the machine.
        judges: True if its adapters judge labels.
        quantized: True if it is loaded in 4 or 8 bits.
    """
    speed *= EFFICIENCY / (QUANTIZED_COST if quantized else 1)
    seeds = len(str(train.get("seeds") or "0").split(","))
    checkpointed = bool(train.get("gradient_checkpointing"))
    passes = (FULL_PASSES if train.get("method") == "full" else ADAPTER_PASSES) + checkpointed
    together = int(train.get("per_device_train_batch_size") or 1) * int(train.get("gradient_accumulation_steps") or 1)
    # Recomputed activations are those of whole prompts.
    tokens = work.learned - (0 if checkpointed else work.shared * (1 - 1 / together))
    row = passes * forward(shape, tokens, ANSWER_TOKENS) * int(train.get("num_train_epochs") or 1)
    question = forward(shape, work.scored, 5 * work.orders)
    held_out, judged = work.validated + work.tested, work.trained + work.validated
    kept = 1 - 1 / work.folds if work.folds else 0
    folds = work.folds * judged * kept * row + judged * question
    return Duration(
        untouched=START + work.questions * question / speed,
        training=START + seeds * work.trained * row / speed,
        tuned=START + seeds * held_out * question / speed,
        folds=work.folds * START + folds / speed if judges and work.folds else 0,
    )


def forward(shape: Shape, tokens: float, kept: int) -> float:
    """Return the operations of a forward pass that computes logits at some positions.

    Args:
        shape: The model's shape.
        tokens: The number of tokens.
        kept: The number of positions whose logits are computed.
    """
    tables = (1 if shape.tie_word_embeddings else 2) * shape.vocab_size * shape.hidden_size
    body = parameters(shape, active=True) - tables
    return 2.0 * body * tokens + 2.0 * shape.vocab_size * shape.hidden_size * kept


def matmul_speed(dtype: "torch.dtype", device: str) -> float:
    """Return the operations per second of a matrix product on this machine without other load; takes about a second.

    On a CPU, the CPU time of one thread is measured and multiplied by torch's threads: a machine that is busy now is no
    slower tomorrow night.
    """
    import torch

    on_gpu, threads = device != "cpu", torch.get_num_threads()
    rows, inner, columns = (4 * side if on_gpu else side for side in _SIDES)
    left, right = (torch.ones(shape, dtype=dtype, device=device) for shape in ((rows, inner), (inner, columns)))
    clock = time.perf_counter if on_gpu else time.thread_time

    def seconds() -> float:
        start = clock()
        product = left @ right
        product[0, 0].item()  # waits for the device
        return clock() - start

    torch.set_num_threads(1)
    try:
        seconds()
        until, fastest = time.perf_counter() + _SECONDS, seconds()
        while time.perf_counter() < until:
            fastest = min(fastest, seconds())
    finally:
        torch.set_num_threads(threads)
    return 2.0 * rows * inner * columns / fastest * (1 if on_gpu else threads)


def show_duration(seconds: float) -> str:
    """Format a time with the precision of an estimate: about 40 min, about 2.5 h, about 3 days."""
    minutes = seconds / 60
    if minutes < 1:
        return "under 1 min"
    if minutes < 10:
        return f"about {minutes:.0f} min"
    if minutes < 87.5:
        return f"about {5 * round(minutes / 5)} min"
    hours = minutes / 60
    if hours < 9.75:
        return f"about {round(2 * hours) / 2:g} h"
    return f"about {hours:.0f} h" if hours < 47.5 else f"about {hours / 24:.0f} days"
