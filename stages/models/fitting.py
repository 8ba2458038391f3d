"""What pretraining and LoRA share: token rows, batches of like length, the loss on the answer, the schedule.

Rows are padded on the left, so that every row of a batch ends in its answer: the model then computes logits for
those last few positions alone, which for a small model with a large vocabulary is most of the work.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.cli import DataError
from stages.models.prompts import ANSWERS, without_oldest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Label of a position that has no loss, as everywhere in torch and transformers.
IGNORE_INDEX = -100
#: Batches that are sorted by length together; more would save padding and mix the lengths less.
BUCKET = 16


class Example(NamedTuple):
    """One training row in tokens.

    Attributes:
        prompt: Token ids that are read.
        answer: Token ids that are learned, the end-of-text token last.
        deciding: Index in ``answer`` of the first token that tells the options apart.
    """

    prompt: list[int]
    answer: list[int]
    deciding: int


class Encoded(NamedTuple):
    """Alpaca rows in tokens.

    Attributes:
        examples: One for each row.
        options: Token ids of each row's options, in the order of ``ANSWERS``.
        right: Index of the right option in ``ANSWERS``.
        shortened: How many prompts had to be shortened.
    """

    examples: list[Example]
    options: list[list[list[int]]]
    right: list[int]
    shortened: int


class Batch(NamedTuple):
    """Rows padded on the left to one length.

    Attributes:
        inputs: What the model takes: ``input_ids``, ``attention_mask``, ``position_ids``, each of shape (n, length).
        labels: Token ids of the answers, shape (n, longest answer), ``IGNORE_INDEX`` where a row's is shorter.
        deciding: Column of each row's deciding token in ``labels``, shape (n,).
    """

    inputs: "dict[str, torch.Tensor]"
    labels: "torch.Tensor"
    deciding: "torch.Tensor"


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", instructions: Sequence[str], max_length: int
) -> tuple[list[list[int]], int]:
    """Token ids of each prompt as its model wants it, and how many had to be shortened.

    A chat model's own template is applied where the tokenizer has one; else the answer follows on a new line. A prompt
    of more than ``max_length`` tokens loses its oldest history lines, then, without any, the middle of what is left.
    """
    texts = [_dressed(tokenizer, instruction) for instruction in instructions]
    rows: list[list[int]] = _tokens(tokenizer, texts) if texts else []
    long = [index for index, ids in enumerate(rows) if len(ids) > max_length]
    for index in long:
        rows[index] = _shortened(tokenizer, instructions[index], rows[index], max_length)
    return rows, len(long)


def _dressed(tokenizer: "PreTrainedTokenizerBase", instruction: str) -> str:
    # The chat must not end the user's turn: a special token inside a message is broken up into plain text.
    for token in tokenizer.all_special_tokens:
        if token in instruction:
            instruction = instruction.replace(token, f"{token[0]} {token[1:]}")
    if tokenizer.chat_template is None:
        return instruction + "\n"
    messages = [{"role": "user", "content": instruction}]
    # Models that may think aloud first are told not to: the answer is scored, not generated.
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def _tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    # A chat template has written its own beginning-of-text token.
    plain = tokenizer.chat_template is None
    return tokenizer(list(texts), add_special_tokens=plain, return_attention_mask=False)["input_ids"]


def _shortened(tokenizer: "PreTrainedTokenizerBase", instruction: str, ids: list[int], max_length: int) -> list[int]:
    shorter = without_oldest(instruction)
    while len(ids) > max_length and shorter is not None:
        ids = _tokens(tokenizer, [_dressed(tokenizer, shorter)])[0]
        shorter = without_oldest(shorter)
    if len(ids) > max_length:
        ids = ids[: max_length // 2] + ids[len(ids) - (max_length - max_length // 2) :]
    return ids


def encode_options(
    tokenizer: "PreTrainedTokenizerBase", options: Sequence[Mapping[str, str]]
) -> list[dict[str, list[int]]]:
    """Token ids of every option of every row; each distinct text is encoded once."""
    texts = sorted({text for row in options for text in row.values()})
    ids = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True)) if texts else {}
    return [{key: ids[text] for key, text in row.items()} for row in options]


def deciding_index(options: Sequence[Sequence[int]]) -> int:
    """How many first tokens all options share: the index of the token that tells them apart."""
    shared = 0
    for column in zip(*options, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def encode_rows(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Mapping[str, Any]], max_length: int) -> Encoded:
    """Alpaca rows in tokens, each with its answer no longer than ``max_length``."""
    texts = encode_options(tokenizer, [row["options"] for row in rows])
    options = [[ids[key] for key in ANSWERS] for ids in texts]
    right = [[row["options"][key] for key in ANSWERS].index(row["output"]) for row in rows]
    room = max_length - 1 - max((len(ids) for row in options for ids in row), default=0)
    prompts, shortened = encode_prompts(tokenizer, [row["instruction"] for row in rows], room)
    examples = [
        Example(prompt, ids[index] + [tokenizer.eos_token_id], deciding_index(ids))
        for prompt, ids, index in zip(prompts, options, right, strict=True)
    ]
    return Encoded(examples, options, right, shortened)


def pad_left(rows: Sequence[Sequence[int]], filler: int) -> "dict[str, torch.Tensor]":
    """Model inputs of rows of token ids, padded on the left; positions count from each row's first token."""
    import torch

    length = max(len(row) for row in rows)
    ids = torch.tensor([[filler] * (length - len(row)) + list(row) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    positions = torch.arange(length)[None, :] - (length - lengths)[:, None]
    return {
        "input_ids": ids,
        "attention_mask": (positions >= 0).long(),
        "position_ids": positions.clamp(min=0),
    }


def collate(examples: Sequence[Example], filler: int) -> Batch:
    """Pad examples into one batch; the last answer token is a label only, nothing follows it."""
    import torch

    inputs = pad_left([example.prompt + example.answer[:-1] for example in examples], filler)
    longest = max(len(example.answer) for example in examples)
    labels = [[IGNORE_INDEX] * (longest - len(e.answer)) + e.answer for e in examples]
    deciding = [longest - len(e.answer) + e.deciding for e in examples]
    return Batch(inputs, torch.tensor(labels), torch.tensor(deciding))


def batches_by_length(
    examples: Sequence[Example], size: int, generator: Random | None = None
) -> Iterator[list[Example]]:
    """Batches of rows of like length, hardly padded; in seeded random order, or sorted without a generator."""
    order = list(range(len(examples)))
    bucket = len(order) or 1
    if generator is not None:
        generator.shuffle(order)
        bucket = size * BUCKET
    batches: list[list[int]] = []
    for start in range(0, len(order), bucket):
        part = sorted(order[start : start + bucket], key=lambda index: len(examples[index].prompt))
        batches += [part[at : at + size] for at in range(0, len(part), size)]
    if generator is not None:
        generator.shuffle(batches)
    for batch in batches:
        yield [examples[index] for index in batch]


def answer_losses(model: "PreTrainedModel", batch: Batch) -> "tuple[torch.Tensor, torch.Tensor]":
    """Mean cross-entropy over the answer tokens, and over the deciding tokens alone (both in nats).

    The mean hides the deciding token: once the rest of the answer is copied from the prompt, a coin toss between
    two options costs only ln 2 divided by the answer's length.
    """
    from torch.nn.functional import cross_entropy

    device = model.device
    labels = batch.labels.to(device)
    inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
    logits = model(**inputs, logits_to_keep=labels.shape[1], use_cache=False).logits.float()
    losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    deciding = losses.gather(1, batch.deciding.to(device)[:, None])
    return losses.sum() / (labels != IGNORE_INDEX).sum(), deciding.mean()


def cosine(steps: int, warmup_steps: int) -> Callable[[int], float]:
    """Factor of the learning rate by step: a linear warm-up from 0, then half a cosine down to 0."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))

    return factor


def check_finite(loss: float, step: int) -> float:
    """Give the loss back.

    Raises:
        DataError: If it is not a finite number: the weights are lost from here on.
    """
    if not math.isfinite(loss):
        raise DataError(
            f"step {step}: expected a finite loss, got {loss}. The training diverged: "
            "lower learning_rate, raise warmup_steps, or both."
        )
    return loss


def reproducible(seed: int) -> None:
    """Seed torch and allow deterministic kernels only: equal runs on one machine and thread count are equal."""
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
