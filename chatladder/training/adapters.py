"""Choose what is trained, and write it: a fresh LoRA adapter (arXiv 2106.09685) on a frozen base, or all weights.

An adapter applies dropout to the input of every linear layer that it changes. With torch's dropout, this takes a fifth
of a small model's training step on a CPU: torch draws one number per element and stores the mask in the input's dtype.
Ours draws four from each random number of 64 bits and stores a byte per element; probabilities are rounded to 1/65,536.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatladder.io.console import DataError
from chatladder.models.batches import reproducible
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def wrap(model: "PreTrainedModel", settings: TrainSettings, name: str) -> "PeftModel":
    """Return the model with a fresh adapter on the chosen linear layers; ``all-linear`` includes a mixture's experts.

    Args:
        model: The base; its own weights are frozen.
        settings: Rank, scale, dropout and layers.
        name: The base's name for the adapter's configuration, in place of a local path.

    Raises:
        DataError: If the model has no layers of these names, or dropout is requested for experts.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    modules = settings.target_modules
    experts = expert_weights(model) if modules == ("all-linear",) else []
    if experts and settings.lora_dropout:
        raise DataError(
            f"lora_dropout: expected 0 for {name}, got {settings.lora_dropout}: it is a mixture of experts, and peft "
            "has no dropout for them. Set lora_dropout: 0.0 in the rung's train section, or name target_modules."
        )
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if modules == ("all-linear",) else list(modules),
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        task_type=TaskType.CAUSAL_LM,
    )
    if experts:
        config.target_modules = _beside_experts(model, config)
        config.target_parameters = experts
    reproducible(settings.seed)
    try:
        wrapped: Any = get_peft_model(model, config)
    except ValueError as error:
        raise DataError(f"target_modules: expected names of linear layers of {name}, got: {error}") from error
    replace_dropout(wrapped)
    resolved = wrapped.peft_config["default"]
    # peft holds sets, and would save them in an order that changes from run to run.
    resolved.target_modules = sorted(resolved.target_modules)
    if experts:
        resolved.target_parameters = sorted(resolved.target_parameters)
    resolved.base_model_name_or_path = name
    adapted: PeftModel = wrapped
    return adapted


def expert_weights(model: "PreTrainedModel") -> list[str]:
    """Return the name suffixes of three-dimensional weights that hold all experts of a layer; none in a dense model.

    peft's ``all-linear`` skips them in some architectures, and includes the router in others.
    """
    names = [
        f"{name}.{own}"
        for name, module in model.named_modules()
        if not isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d))
        for own, weight in module.named_parameters(recurse=False)
        if weight.ndim == 3
    ]
    return sorted({".".join(name.split(".")[-2:]) for name in names})


def _beside_experts(model: "PreTrainedModel", config: "LoraConfig") -> list[str]:
    """Return the linear layers of a mixture without its output layer, router and gates.

    In some mixtures peft takes the names of feed-forward layers for the experts and would adapt these twice, so shared
    experts and dense layers of those mixtures get no adapter.
    """
    from copy import deepcopy

    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    head = model.get_output_embeddings()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and not name.endswith(("gate", "router"))
    ]
    tried = deepcopy(config)
    tried.target_modules = names
    convert_peft_config_for_transformers(tried, model, None)
    return sorted(tried.target_modules or names)


def trainable(model: "PreTrainedModel", settings: TrainSettings, name: str) -> Any:
    """Return the model with gradients required for the weights to train, and for no others.

    Args:
        model: The untouched base.
        settings: ``method`` and, for an adapter, its shape.
        name: The base's name for an adapter's configuration.

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
    # Steps of AdamW are smaller than the resolution of bfloat16.
    return model.float().requires_grad_(True)


def write(model: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write the trained weights: all weights, or an adapter as peft reads it.

    Args:
        model: The model with an adapter, or with all weights trained.
        folder: A folder that exists.
        weights: The gathered weights of a model that is sharded over processes; otherwise the model's own are written.
    """
    # Embeddings of an adapted model are never trained; by default, peft would ask the hub whether they were.
    options = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(str(folder), state_dict=weights, **options)
    (folder / "README.md").unlink(missing_ok=True)  # peft's model card, which holds the base's path


#: The number of values of a 16-bit draw.
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
    """``torch.nn.Dropout``, faster on a CPU; equal seeds give equal draws, though not torch's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the input, of any shape, with some elements set to 0 and the others scaled up."""
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        apply: Any = _Dropped.apply  # torch has no types for it
        dropped: torch.Tensor = apply(input, self.p)
        return dropped


def replace_dropout(model: "PeftModel") -> None:
    """Replace the dropout of an adapter's layers by ``Dropout``, in place."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "lora_dropout":
            for adapter, child in module.named_children():
                if isinstance(child, torch.nn.Dropout):
                    setattr(module, adapter, Dropout(child.p))
