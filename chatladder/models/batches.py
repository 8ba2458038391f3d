"""Rows of token ids as a model reads them, and the losses of their answers.

Batches hold rows of like length, padded on the left, so that every row ends in its answer: the model then computes
logits for those last few positions alone, which for a small model with a large vocabulary is most of the work.

What all prompts of a batch begin with, the chat template and the task's description, is read once: with short histories
that is near half of all tokens. Rows attend to the keys and values of the one copy; in training, its gradient is the
sum over all rows, so what is learned is the same (only dropout differs: the rows share one draw of it for the tokens
that they share).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.models.encoding import Example

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.cache_utils import DynamicCache


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


def batches_by_length(examples: Sequence[Example], size: int, generator: Random) -> list[list[Example]]:
    """Return batches of rows of like length, hardly padded, in seeded random order."""
    order = list(range(len(examples)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), size * BUCKET):
        bucket = sorted(order[start : start + size * BUCKET], key=lambda index: len(examples[index].prompt))
        batches += [bucket[at : at + size] for at in range(0, len(bucket), size)]
    generator.shuffle(batches)
    return [[examples[index] for index in batch] for batch in batches]


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
    """

    answer: "torch.Tensor"
    deciding: "torch.Tensor"


def answer_losses(model: "PreTrainedModel", batch: Batch) -> Losses:
    """Losses of a batch whose rows are padded on the left.

    The mean over an answer hides the deciding token: once the rest of the answer is copied from the prompt, a coin
    toss between two options costs only ln 2 divided by the answer's length.
    """
    from torch.nn.functional import cross_entropy

    logits = model(**on_device(batch.inputs, model.device), logits_to_keep=batch.labels.shape[1]).logits
    labels, deciding = batch.labels.flatten().to(logits.device), batch.deciding.to(logits.device)
    losses = cross_entropy(logits.float().flatten(0, 1), labels, reduction="none")
    return Losses(losses.sum(), losses[deciding].sum())


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
    # Apple's GPUs have no deterministic kernel for a gradient that training needs (index_put): there it is a warning.
    torch.use_deterministic_algorithms(True, warn_only=torch.backends.mps.is_available())
    # It would also fill all memory before it is used: a tenth of the time, and no code of ours reads what was there.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


#: Architectures that take a 4-d mask and plain positions; a test compares each with separate passes.
BLOCK_MASK = ("llama", "mistral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3")
#: Implementations of attention that read such a mask.
MASKED = ("sdpa", "eager")


def takes_blocks(config: "PretrainedConfig") -> bool:
    """Whether the options of a prompt can be read side by side, each blind to the others.

    Layers that see a sliding window alone would see all through our mask; kernels such as flash attention take none.
    """
    kinds = getattr(config, "layer_types", None)
    windowed = {*kinds} != {"full_attention"} if kinds else bool(getattr(config, "sliding_window", None))
    return config.model_type in BLOCK_MASK and not windowed and config._attn_implementation in MASKED


#: Shorter ones are read with each row: a forward pass of their own costs more.
SHORTEST = 16


def shared_length(model: "PreTrainedModel", prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts share and may be read once; 0 if too few, or with another architecture.

    Each prompt keeps one token of its own at least: something has to be read after the shared part.
    """
    if len(prompts) < 2 or not takes_blocks(model.config):
        return 0
    shared = 0
    for column in zip(*prompts, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    shared = min(shared, min(map(len, prompts)) - 1)
    return shared if shared >= SHORTEST else 0


class Prefix:
    """Keys and values of shared tokens, ready to be continued by any number of rows.

    Args:
        model: On its device.
        tokens: The shared token ids.
        gradients: Whether ``backward`` will be called: parts of a step then add to one gradient of the prefix.
    """

    def __init__(self, model: "PreTrainedModel", tokens: Sequence[int], *, gradients: bool = False) -> None:
        import torch
        from transformers.cache_utils import DynamicCache

        self._config = model.config
        self.length = len(tokens)
        cache = DynamicCache(config=self._config)
        model(
            input_ids=torch.tensor([list(tokens)], device=model.device), cache=cache, use_cache=True, logits_to_keep=1
        )
        layers: list[Any] = cache.layers
        self._made: list[torch.Tensor] = [states for layer in layers for states in (layer.keys, layer.values)]
        self._leaves = [states.detach().requires_grad_(gradients) for states in self._made]

    def cache(self, rows: int) -> "DynamicCache":
        """The shared states for so many rows, in a cache of their own."""
        from transformers.cache_utils import DynamicCache

        states = [leaf.expand(rows, -1, -1, -1) for leaf in self._leaves]
        pairs: Any = list(zip(states[::2], states[1::2], strict=True))
        return DynamicCache(pairs, config=self._config)

    def backward(self) -> None:
        """Carry what the rows' backward passes left at the shared states on to the weights."""
        import torch

        reached = [(made, leaf.grad) for made, leaf in zip(self._made, self._leaves, strict=True) if made.requires_grad]
        used = [(made, gradient) for made, gradient in reached if gradient is not None]
        torch.autograd.backward([made for made, _ in used], [gradient for _, gradient in used])


def continued(inputs: "dict[str, torch.Tensor]", prefix: Prefix) -> "dict[str, Any]":
    """Model inputs of left-padded rows that follow a prefix: its cache, and places and mask that count it in.

    Args:
        inputs: ``input_ids``, ``position_ids`` and ``attention_mask``: of shape (n, length), or (n, 1, length, length)
            of numbers that are added to attention.
        prefix: What they follow.
    """
    import torch

    mask = inputs["attention_mask"]
    # Everything sees the prefix: a one says so in a plain mask, a zero in one that is added.
    fill = 1 if mask.dim() == 2 else 0
    seen = torch.full((*mask.shape[:-1], prefix.length), fill, dtype=mask.dtype, device=mask.device)
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": torch.cat([seen, mask], dim=-1),
        "position_ids": inputs["position_ids"] + prefix.length,
        "cache": prefix.cache(mask.shape[0]),
        "use_cache": True,
    }
