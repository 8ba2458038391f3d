"""Put a fresh LoRA adapter on a base model, and write it as peft reads it. LoRA: arXiv 2106.09685."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError
from chatladder.models.fitting import reproducible
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def wrap(model: "PreTrainedModel", settings: TrainSettings, name: str) -> "PeftModel":
    """The model with a fresh adapter on the chosen linear layers; ``all-linear`` means a mixture's experts, too.

    Args:
        model: The base; its own weights are frozen.
        settings: Rank, scale, dropout and layers.
        name: What the adapter says that it belongs to, in place of the base's path on this machine.

    Raises:
        DataError: If the model has no layers of these names, or dropout is asked of experts.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    from chatladder.training.dropout import replace_dropout

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
    # peft keeps sets, and would save them in an order that changes from run to run.
    resolved.target_modules = sorted(resolved.target_modules)
    if experts:
        resolved.target_parameters = sorted(resolved.target_parameters)
    resolved.base_model_name_or_path = name
    adapted: PeftModel = wrapped
    return adapted


def expert_weights(model: "PreTrainedModel") -> list[str]:
    """Endings of the names of weights that hold all experts of a layer, in three dimensions; none of a dense model.

    ``all-linear`` of peft passes over them in some architectures, and takes the router with them in others.
    """
    import torch

    names = [
        f"{name}.{own}"
        for name, module in model.named_modules()
        if not isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d))
        for own, weight in module.named_parameters(recurse=False)
        if weight.ndim == 3
    ]
    return sorted({".".join(name.split(".")[-2:]) for name in names})


def _beside_experts(model: "PreTrainedModel", config: "LoraConfig") -> list[str]:
    """The linear layers of a mixture less its output layer, its router and its gates.

    peft gives the names of feed-forward layers a new meaning in some mixtures, the experts; there it would adapt the
    experts twice, so shared experts and dense layers of those go without.
    """
    from copy import deepcopy

    import torch
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


def save(model: "PeftModel", folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write the adapter as peft reads it, less the model card: that one holds the base's path.

    Args:
        model: With the adapter.
        folder: That exists.
        weights: The model's, where they are spread over processes; otherwise they are read off it.
    """
    # Embeddings are never trained here; left to itself, peft would ask the hub whether they were.
    model.save_pretrained(str(folder), save_embedding_layers=False, state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)
