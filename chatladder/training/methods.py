"""What is trained, an adapter or all weights, and how it is written."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError
from chatladder.training.adapters import save, wrap
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def trainable(model: "PreTrainedModel", settings: TrainSettings, name: str) -> Any:
    """The model with the weights that are to be trained, and no others, in need of gradients.

    Args:
        model: The untouched base.
        settings: ``method`` and, for an adapter, its shape.
        name: What an adapter says that it belongs to.

    Raises:
        DataError: If an adapter's layers are not in the model, or all weights of a quantized one are to be trained.
    """
    if settings.method == "lora":
        return wrap(model, settings, name)
    if getattr(model, "quantization_method", None) is not None:
        raise DataError(
            f"method: full trains weights as they are, and those of {name} are loaded in 4 or 8 bits. Take "
            "load_in_4bit and load_in_8bit out of its base section, or set method: lora."
        )
    # Steps of AdamW are smaller than what bfloat16 can tell apart.
    return model.float().requires_grad_(True)


def write(model: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write what was trained.

    Args:
        model: With an adapter, or with all weights trained.
        folder: That exists.
        weights: The model's, where they are spread over processes; otherwise they are read off it.
    """
    if hasattr(model, "peft_config"):
        save(model, folder, weights)
    else:
        model.save_pretrained(str(folder), state_dict=weights)
