"""Read what all prompts of a batch begin with once, not once a row: the chat template and the task's description.

With short histories that is near half of all tokens. Rows then attend to the keys and values of the one copy; in
training, its gradient is the sum over all rows, so what is learned is the same (only dropout differs: the rows share
one draw of it for the tokens that they share).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chatladder.models.attention import takes_blocks

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.cache_utils import DynamicCache

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
