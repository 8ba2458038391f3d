"""Put several training rows into one sequence, each blind to the others: nothing is padded at all.

It pays on a GPU with rows of very different length; where lengths are alike, batches by length waste little, and one
long sequence spends more on attention. Tokens that all rows begin with are there once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatladder.models.encoding import Example
from chatladder.models.fitting import Losses, sum_losses

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def packed_losses(model: "PreTrainedModel", examples: Sequence[Example], shared: int) -> Losses:
    """Losses of rows in one sequence, the same as those of separate rows.

    Args:
        model: Of an architecture that takes a 4-d mask.
        examples: The rows.
        shared: How many first tokens they have in common that are read once; may be 0.
    """
    import torch

    ids = list(examples[0].prompt[:shared])
    positions, groups = list(range(shared)), [0] * shared
    keep: list[int] = []
    labels: list[int] = []
    deciding: list[int] = []
    for group, example in enumerate(examples, start=1):
        own = example.prompt[shared:] + example.answer[:-1]
        ids += own
        positions += range(shared, shared + len(own))
        groups += [group] * len(own)
        deciding.append(len(labels) + example.deciding)
        labels += example.answer
        # The position before each answer token predicts it.
        keep += range(len(ids) - len(example.answer), len(ids))
    device = model.device
    logits = model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask=block_mask(groups, model.dtype).to(device),
        logits_to_keep=torch.tensor(keep, device=device),
        use_cache=False,
    ).logits
    return sum_losses(logits, torch.tensor([labels]), torch.tensor(deciding))


def block_mask(groups: Sequence[int], dtype: "torch.dtype") -> "torch.Tensor":
    """Mask to be added to attention, shape (1, 1, length, length): a token sees its own group and group 0 before it."""
    import torch

    of = torch.tensor(groups)
    allowed = ((of[None, :] == 0) | (of[None, :] == of[:, None])) & torch.ones(
        len(of), len(of), dtype=torch.bool
    ).tril()
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[None, None]
