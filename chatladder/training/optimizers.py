"""The optimizers that params name: AdamW, its paged 8-bit form, and either with LoRA+'s two learning rates."""

from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def make_optimizer(model: "PreTrainedModel", settings: TrainSettings) -> "torch.optim.Optimizer":
    """An optimizer of the model's trainable weights.

    Raises:
        DataError: If its library is not installed, or LoRA+ is asked for without LoRA.
    """
    kind = _adamw(settings.optim)
    if settings.loraplus_lr_ratio:
        if settings.method != "lora":
            raise DataError("loraplus_lr_ratio: expected 0 with method: full, which has no adapter; set it to 0.")
        from peft.optimizers import create_loraplus_optimizer

        model_of_peft: Any = model
        return create_loraplus_optimizer(
            model_of_peft,
            kind,
            lr=settings.learning_rate,
            loraplus_lr_ratio=settings.loraplus_lr_ratio,
            loraplus_weight_decay=settings.weight_decay,
        )
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer: torch.optim.Optimizer = kind(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return optimizer


def _adamw(name: str) -> Any:
    if name == "adamw_torch":
        import torch

        return torch.optim.AdamW
    try:
        import bitsandbytes
    except ImportError:
        raise DataError(
            f"optim: {name} needs the package bitsandbytes and a GPU that it knows. Install it "
            "(pip install bitsandbytes), or set optim: adamw_torch; an adapter's own states are small."
        ) from None
    return bitsandbytes.optim.PagedAdamW8bit
