"""Batches of token ids, and the losses of their answers.

A batch holds rows of similar length, padded on the left, so that every row ends in its answer: the model then computes
logits only for those last few positions. For a small model with a large vocabulary, logits are most of the work.

The common prefix of a batch's prompts, the chat template and the task's description, is computed once: with short
histories it is nearly half of all tokens. Rows attend to the keys and values of the one copy. In training, its gradient
is the sum over all rows, so the result is the same (only dropout differs: the rows share one draw of it for the shared
tokens).
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


#: The label of a position without a loss, as everywhere in torch and transformers.
IGNORE_INDEX = -100
#: The number of batches whose rows are sorted by length together; more would save padding but mix lengths less.
BUCKET = 16


class Batch(NamedTuple):
    """Rows padded on the left to one length.

    Attributes:
        inputs: The model's inputs ``input_ids``, ``attention_mask`` and ``position_ids``, each of shape (n, length).
        labels: Token ids of the answers, shape (n, longest answer); shorter ones are padded with ``IGNORE_INDEX``.
        deciding: The index of each row's deciding token in the flattened ``labels``, shape (n,).
    """

    inputs: "dict[str, torch.Tensor]"
    labels: "torch.Tensor"
    deciding: "torch.Tensor"


def pad_left(rows: Sequence[Sequence[int]], filler: int) -> "dict[str, torch.Tensor]":
    """Return the model inputs of rows of token ids, padded on the left; positions count from each row's first token."""
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
    """Pad examples into one batch; the last answer token is only a label, since nothing follows it."""
    import torch

    inputs = pad_left([example.prompt + example.answer[:-1] for example in examples], filler)
    longest = max(len(example.answer) for example in examples)
    labels = [[IGNORE_INDEX] * (longest - len(e.answer)) + e.answer for e in examples]
    deciding = [row * longest + longest - len(e.answer) + e.deciding for row, e in enumerate(examples)]
    return Batch(inputs, torch.tensor(labels), torch.tensor(deciding))


def batches_by_length(examples: Sequence[Example], size: int, generator: Random) -> list[list[Example]]:
    """Return batches of rows of similar length, with little padding, in seeded random order."""
    order = list(range(len(examples)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), size * BUCKET):
        bucket = sorted(order[start : start + size * BUCKET], key=lambda index: len(examples[index].prompt))
        batches += [bucket[at : at + size] for at in range(0, len(bucket), size)]
    generator.shuffle(batches)
    return [[examples[index] for index in batch] for batch in batches]


def on_device(inputs: Mapping[str, Any], device: "torch.device") -> dict[str, Any]:
    """Return the inputs with their tensors on a device; the model uses a cache only if the inputs ask for it."""
    import torch

    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    return {"use_cache": False, **moved}


class Losses(NamedTuple):
    """The cross-entropy of a batch in nats, as sums, so that those of a step's parts add up to the step's.

    Attributes:
        answer: The sum over all answer tokens, a scalar.
        deciding: The sum over only the rows' deciding tokens, a scalar.
    """

    answer: "torch.Tensor"
    deciding: "torch.Tensor"


def answer_losses(model: "PreTrainedModel", batch: Batch) -> Losses:
    """Return the losses of a batch whose rows are padded on the left.

    The mean over an answer hides the deciding token: once the rest of the answer is copied from the prompt, a coin
    toss between two options costs only ln 2 divided by the answer's length.
    """
    from torch.nn.functional import cross_entropy

    logits = model(**on_device(batch.inputs, model.device), logits_to_keep=batch.labels.shape[1]).logits
    labels, deciding = batch.labels.flatten().to(logits.device), batch.deciding.to(logits.device)
    losses = cross_entropy(logits.float().flatten(0, 1), labels, reduction="none")
    return Losses(losses.sum(), losses[deciding].sum())


def cosine(steps: int, warmup_steps: int) -> Callable[[int], float]:
    """Return the function from a step to its learning-rate factor: linear warm-up from 0, then half a cosine to 0."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))

    return factor


def check_finite(loss: float, step: int, advice: str = "lower learning_rate, raise warmup_steps, or both") -> float:
    """Return the loss.

    Raises:
        DataError: If it is not finite, since the weights are useless from this step on.
    """
    if not math.isfinite(loss):
        raise DataError(f"step {step}: expected a finite loss, got {loss}. The training diverged: {advice}.")
    return loss


def reproducible(seed: int) -> None:
    """Seed torch and allow only deterministic kernels: a run repeated on one machine and thread count is identical."""
    import torch

    torch.manual_seed(seed)
    # Only a warning on Apple's GPUs, which lack a deterministic kernel for a gradient that training needs (index_put).
    torch.use_deterministic_algorithms(True, warn_only=torch.backends.mps.is_available())
    # It would also fill all memory before use, for a tenth of the time; our code reads no uninitialized memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


#: Architectures that accept a 4-d mask and plain positions; a test compares each with separate passes.
BLOCK_MASK = ("llama", "mistral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3")
#: Attention implementations that accept such a mask.
MASKED = ("sdpa", "eager")


def takes_blocks(config: "PretrainedConfig") -> bool:
    """Return True if the options of a prompt can be computed in one pass, each masked from the others.

    With our mask, sliding-window layers would see every position; kernels such as flash attention accept no mask.
    """
    kinds = getattr(config, "layer_types", None)
    windowed = {*kinds} != {"full_attention"} if kinds else bool(getattr(config, "sliding_window", None))
    return config.model_type in BLOCK_MASK and not windowed and config._attn_implementation in MASKED


#: The fewest tokens of a shared prefix; a shorter one is computed with each row, since a separate pass costs more.
SHORTEST = 16


def shared_length(model: "PreTrainedModel", prompts: Sequence[Sequence[int]]) -> int:
    """Return the length of the prompts' prefix to compute once; 0 if it is too short or the model does not allow it.

    At least one token of each prompt follows the prefix, since the model needs an input after it.
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
    """Keys and values of shared tokens, which any number of rows can continue.

    Args:
        model: The model, on its device.
        tokens: The shared token ids.
        gradients: True if ``backward`` will be called: parts of a step then add to one gradient of the prefix.
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
        """Return a new cache of the shared keys and values for ``rows`` rows."""
        from transformers.cache_utils import DynamicCache

        states = [leaf.expand(rows, -1, -1, -1) for leaf in self._leaves]
        pairs: Any = list(zip(states[::2], states[1::2], strict=True))
        return DynamicCache(pairs, config=self._config)

    def backward(self) -> None:
        """Propagate the gradients that the rows' backward passes left at the keys and values to the weights."""
        import torch

        reached = [(made, leaf.grad) for made, leaf in zip(self._made, self._leaves, strict=True) if made.requires_grad]
        used = [(made, gradient) for made, gradient in reached if gradient is not None]
        torch.autograd.backward([made for made, _ in used], [gradient for _, gradient in used])


def continued(inputs: "dict[str, torch.Tensor]", prefix: Prefix) -> "dict[str, Any]":
    """Return the model inputs of left-padded rows that follow a prefix: its cache, and mask and positions after it.

    Args:
        inputs: ``input_ids``, ``position_ids`` and ``attention_mask``. The mask has shape (n, length), or
            (n, 1, length, length) with numbers that are added to attention scores.
        prefix: The prefix.
    """
    import torch

    mask = inputs["attention_mask"]
    # Every token sees the prefix: that is 1 in a plain mask, 0 in an additive one.
    fill = 1 if mask.dim() == 2 else 0
    seen = torch.full((*mask.shape[:-1], prefix.length), fill, dtype=mask.dtype, device=mask.device)
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": torch.cat([seen, mask], dim=-1),
        "position_ids": inputs["position_ids"] + prefix.length,
        "cache": prefix.cache(mask.shape[0]),
        "use_cache": True,
    }
