"""Put a fresh LoRA adapter on a base model, and write it as peft reads it. LoRA: arXiv 2106.09685."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.cli import DataError
from stages.models.fitting import reproducible
from stages.models.settings import TrainSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def wrap(model: "PreTrainedModel", settings: TrainSettings, name: str) -> "PeftModel":
    """The model with a fresh adapter on the chosen linear layers.

    Args:
        model: The base; its own weights are frozen.
        settings: Rank, scale, dropout and layers.
        name: What the adapter says that it belongs to, in place of the base's path on this machine.

    Raises:
        DataError: If the model has no layers of these names.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    modules = settings.target_modules
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if modules == ("all-linear",) else list(modules),
        task_type=TaskType.CAUSAL_LM,
    )
    reproducible(settings.seed)
    try:
        wrapped: Any = get_peft_model(model, config)
    except ValueError as error:
        raise DataError(f"target_modules: expected names of linear layers of {name}, got: {error}") from error
    resolved = wrapped.peft_config["default"]
    # peft keeps a set, and would save it in an order that changes from run to run.
    resolved.target_modules = sorted(resolved.target_modules)
    resolved.base_model_name_or_path = name
    return wrapped


def save(model: "PeftModel", folder: Path) -> None:
    """Write the adapter as peft reads it, less the model card: that one holds the base's path."""
    # Embeddings are never trained here; left to itself, peft would ask the hub whether they were.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
