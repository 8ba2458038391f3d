"""Load a rung of the ladder: its base model and tokenizer, with an adapter on top if one is given.

Weights are read from safetensors only (pickles can run code) and no code of a model's repository is ever run.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stages.cli import DataError
from stages.files import read_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: What a base folder says about its model: source, name, params, and where it lies.
RUNG = "rung.json"
#: What is fetched of a hub model: no pickles, no code.
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def read_rung(base: Path) -> dict[str, Any]:
    """The description of one rung: ``source``, ``name``, ``params`` and what its source needs.

    Raises:
        DataError: If the folder is no base folder.
    """
    path = base / RUNG
    if not path.is_file():
        raise DataError(f"{base}: expected a folder written by stages.base, got none that holds {RUNG}.")
    return read_json(path)


def load(base: Path, adapter: Path | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model, ready to score, and its tokenizer.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train``; None for the untouched model.

    Raises:
        DataError: If the folders or the weights cannot be used.
    """
    from safetensors import SafetensorError

    quiet()
    rung = read_rung(base)
    try:
        model, tokenizer = _embedded(base) if rung["source"] == "embedded" else _any(rung)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{base}: expected a model that loads, got: {error}") from error
    if adapter is not None:
        model = _adapted(model, adapter)
    return model.eval(), tokenizer


def quiet() -> None:
    """Keep progress bars of loading and peft's own use of an old name out of what a stage prints."""
    import warnings

    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


def _embedded(base: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    # The auto classes would cost more imports; these are always Qwen2, and so small that the CPU is as fast.
    import torch
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    return model, PreTrainedTokenizerFast.from_pretrained(base)


def _adapted(model: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    from peft import PeftModel
    from safetensors import SafetensorError

    # Checked here because peft would otherwise look for the folder's name on the hub, or read a pickle.
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter / name).is_file():
            raise DataError(f"{adapter}: expected an adapter folder written by stages.train, got none with {name}.")
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter), torch_device=str(model.device))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{adapter}: expected an adapter of this base model, got: {error}") from error
    return cast("PreTrainedModel", adapted)


def _any(rung: dict[str, Any]) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(rung["path"] if rung["source"] == "folder" else rung["repo"])
    pinned = {"revision": rung["revision"]} if rung["source"] == "hub" else {}
    device, dtype = best_device()
    tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **pinned)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(
        where, dtype=dtype, use_safetensors=True, trust_remote_code=False, **pinned
    )
    return model.to(device), tokenizer


def count_parameters(folder: Path) -> int:
    """Weights in a model's safetensors, from their headers alone; a shared embedding is stored, and counted, once.

    Raises:
        DataError: If the folder holds none.
    """
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(
            f"{folder}: expected a model in safetensors, got no *.safetensors. Weights in pickles are not read; "
            "convert them first."
        )
    total = 0
    for path in files:
        with safe_open(path, framework="numpy") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def fetch(repo: str, revision: str) -> Path:
    """Download one commit of a hub model, safetensors and text alone, and give its folder in the hub's cache.

    Raises:
        DataError: If it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(HUB_FILES)))
    except (OSError, ValueError) as error:
        raise DataError(f"{repo}@{revision}: expected a model on the hub, got: {error}") from error


def best_device() -> "tuple[str, torch.dtype]":
    """Where models run: the GPU in bfloat16, or the CPU in float32."""
    import torch

    return ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
