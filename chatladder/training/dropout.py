"""Dropout whose draws cost a CPU a quarter: four from each random number of 64 bits, kept in a byte an element.

torch draws one number for each element and keeps the mask in the input's own type. An adapter drops the input of every
linear layer that it changes, so for a small model that is a fifth of a training step. Probabilities are rounded to
1/65,536. On a GPU torch's own is used.
"""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from peft import PeftModel

#: Values of a draw of 16 bits.
VALUES = 2**16


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, probability: float) -> torch.Tensor:
        numbers = torch.empty((inputs.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        draws = numbers.view(torch.int16)[: inputs.numel()].view(inputs.shape)
        kept = draws >= round(probability * VALUES) - VALUES // 2
        context.save_for_backward(kept)
        context.scale = 1 / (1 - probability)
        return inputs.mul(kept).mul_(context.scale)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = context.saved_tensors
        return gradients[0].mul(kept).mul_(context.scale), None


class Dropout(torch.nn.Dropout):
    """As ``torch.nn.Dropout``; equal seeds give equal draws, though not torch's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The input with some elements 0 and the others scaled up; of any shape."""
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        apply: Any = _Dropped.apply  # torch has no types for it
        dropped: torch.Tensor = apply(input, self.p)
        return dropped


def replace_dropout(model: "PeftModel") -> None:
    """Let an adapter's layers drop their inputs so; in place."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "lora_dropout":
            for adapter, child in module.named_children():
                if isinstance(child, torch.nn.Dropout):
                    setattr(module, adapter, Dropout(child.p))
