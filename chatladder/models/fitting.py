"""What pretraining and LoRA share: batches of like length, the loss on the answer, the schedule.

Rows are padded on the left, so that every row of a batch ends in its answer: the model then computes logits for
those last few positions alone, which for a small model with a large vocabulary is most of the work.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.models.encoding import Example

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Label of a position that has no loss, as everywhere in torch and transformers.
IGNORE_INDEX = -100
#: Batches that are sorted by length together; more would save padding and mix the lengths less.
BUCKET = 16


class Batch(NamedTuple):
    """Rows padded on the left to one length.

    Attributes:
        inputs: What the model takes: ``input_ids``, ``attention_mask``, ``position_ids``, each of shape (n, length).
        labels: Token ids of the answers, shape (n, longest answer), ``IGNORE_INDEX`` where a row's is shorter.
        deciding: Place of each row's deciding token in the flattened ``labels``, shape (n,).
    """

    inputs: "dict[str, torch.Tensor]"
    labels: "torch.Tensor"
    deciding: "torch.Tensor"


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
    deciding = [row * longest + longest - len(e.answer) + e.deciding for row, e in enumerate(examples)]
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


def on_device(inputs: Mapping[str, Any], device: "torch.device") -> dict[str, Any]:
    """The inputs with tensors on this device; a cache is only read if it is among them."""
    import torch

    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    return {"use_cache": False, **moved}


class Losses(NamedTuple):
    """Cross-entropy of a batch, in nats: sums, so that those of a step's parts add up to the step's.

    Attributes:
        answer: Over all answer tokens, a scalar.
        deciding: Over the rows' deciding tokens alone, a scalar.
        tokens: Answer tokens that were counted.
    """

    answer: "torch.Tensor"
    deciding: "torch.Tensor"
    tokens: int


def answer_losses(model: "PreTrainedModel", batch: Batch) -> Losses:
    """Losses of a batch whose rows are padded on the left.

    The mean over an answer hides the deciding token: once the rest of the answer is copied from the prompt, a coin
    toss between two options costs only ln 2 divided by the answer's length.
    """
    logits = model(**on_device(batch.inputs, model.device), logits_to_keep=batch.labels.shape[1]).logits
    return sum_losses(logits, batch.labels, batch.deciding)


def sum_losses(logits: "torch.Tensor", labels: "torch.Tensor", deciding: "torch.Tensor") -> Losses:
    """Losses of logits of shape (n, answer, vocabulary), with labels and deciding places as in ``Batch``."""
    from torch.nn.functional import cross_entropy

    tokens = int((labels != IGNORE_INDEX).sum())
    labels, deciding = labels.flatten().to(logits.device), deciding.to(logits.device)
    losses = cross_entropy(logits.float().flatten(0, 1), labels, reduction="none")
    return Losses(losses.sum(), losses[deciding].sum(), tokens)


def cosine(steps: int, warmup_steps: int) -> Callable[[int], float]:
    """Factor of the learning rate by step: a linear warm-up from 0, then half a cosine down to 0."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))

    return factor


def check_finite(loss: float, step: int, advice: str = "lower learning_rate, raise warmup_steps, or both") -> float:
    """Give the loss back.

    Raises:
        DataError: If it is not a finite number: the weights are lost from here on.
    """
    if not math.isfinite(loss):
        raise DataError(f"step {step}: expected a finite loss, got {loss}. The training diverged: {advice}.")
    return loss


def reproducible(seed: int) -> None:
    """Seed torch and allow deterministic kernels only: equal runs on one machine and thread count are equal."""
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # It would also fill all memory before it is used: a tenth of the time, and no code of ours reads what was there.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
