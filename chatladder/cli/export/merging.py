"""Merge an adapter into its base and write the model for any loader: safetensors, tokenizer, chat template.

The written model is loaded again, with the classes that other people would use, and must answer like the base with the
adapter. Otherwise a wrong merge would go unnoticed, such as of a layer with shared weights, or with a tokenizer that
its class replaces.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chatladder.io.console import DataError
from chatladder.io.files import read_json, share, write_json
from chatladder.models import tokenizers
from chatladder.models.folders import check_folder, count_parameters, read_config
from chatladder.models.loading import RUNG, load, place, read_rung
from chatladder.models.prompts import Prompt

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
#: Largest file of weights, in transformers' notation.
SHARD_SIZE = "5GB"
#: Largest difference of an option's log-probability, in nats; larger for 16-bit weights, which the merge rounds again.
TOLERANCE = {"float32": 1e-3}
ROUNDED = 0.5
#: Fields about how this machine loaded the tokenizer, which are not properties of it.
_LOCAL_KEYS = ("is_local", "local_files_only", "name_or_path")
#: Fields shared by the configurations of Qwen2 and Llama, which compute the same except for a bias.
_SHAPE = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
)


def check_adapter(adapter: Path, base: Path) -> dict[str, Any]:
    """Return the configuration of an adapter that belongs to this base.

    Raises:
        DataError: If the folder holds no adapter, or one that was trained on another rung.
    """
    for name in ADAPTER_FILES:
        if not (adapter / name).is_file():
            raise DataError(
                f"{adapter}: expected an adapter that stages.train wrote, got no {name}. Run dvc repro first."
            )
    config = read_json(adapter / ADAPTER_FILES[0])
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if named != (name := read_rung(base)["name"]):
        raise DataError(f"{adapter}: expected an adapter of {name}, got one of another base. Choose the rung it is of.")
    return cast("dict[str, Any]", config)


def write_adapter(adapter: Path, base: Path, out: Path) -> None:
    """Copy an adapter in the form that plain peft loads; if its base is a hub model, it names the model and commit."""
    config, rung = check_adapter(adapter, base), read_rung(base)
    if "repo" in rung:
        config |= {"base_model_name_or_path": rung["repo"], "revision": rung.get("revision")}
    out.mkdir(exist_ok=True)
    write_json(out / ADAPTER_FILES[0], config)
    shutil.copyfile(adapter / ADAPTER_FILES[1], out / ADAPTER_FILES[1])


def write_merged(base: Path, adapter: Path, out: Path, prompts: Sequence[Prompt], max_length: int) -> None:
    """Merge, write and check.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train`` for it.
        out: A folder that exists; it gains weights, configuration and tokenizer.
        prompts: Prompts, held out if possible, which the written model must answer like the base with the adapter.
        max_length: The most tokens of a prompt with its answer.

    Raises:
        DataError: If the adapter does not fit, or the written model answers differently.
    """
    import torch

    from chatladder.models.scoring import score

    dtype = stored_dtype(base)
    # Weights stored in float32 are merged in float32, even on a device that would round them.
    whole = dtype if dtype is torch.float32 else None
    model, tokenizer = load(base, adapter, quantized=False, dtype=whole)
    before = score(model, tokenizer, prompts, max_length)[0]
    # A model whose weights were all trained has nothing to merge.
    merged: Any = cast("Any", model).merge_and_unload() if hasattr(model, "peft_config") else model
    if read_rung(base)["source"] == "embedded":
        merged = _as_llama(merged)
    merged = merged.to(dtype)
    merged.config.dtype = dtype
    _set_ends(merged, tokenizer)
    merged.save_pretrained(out, max_shard_size=SHARD_SIZE)
    _write_tokenizer(tokenizer, out)
    share(out)
    del model, merged
    after = score(*load_folder(out, whole), prompts, max_length)[0]
    _check_same(before, after, str(dtype).removeprefix("torch."), adapter)


def load_folder(folder: Path, dtype: "torch.dtype | None" = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a model and its tokenizer from a folder, as a base of source ``folder`` is loaded.

    Args:
        folder: The folder.
        dtype: The dtype of the weights; by default the best of the device.

    Raises:
        DataError: If it contains no model in safetensors, or one that cannot be loaded.
    """
    from tempfile import TemporaryDirectory

    check_folder(folder, own=False)
    tokenizers.try_out(folder)
    rung = {"source": "folder", "name": folder.name, "path": str(folder.resolve()), "params": count_parameters(folder)}
    with TemporaryDirectory() as described:
        write_json(Path(described) / RUNG, rung)
        try:
            return load(Path(described), dtype=dtype)
        except DataError as error:
            raise DataError(error.message.replace(described, str(folder))) from error


def stored_dtype(base: Path) -> "torch.dtype":
    """Return the dtype in which the base's weights are stored, whatever the dtype of the computation."""
    import torch

    dtype = read_config(place_of(base)).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def has_chat_template(base: Path) -> bool:
    """Return True if prompts to a base or an exported model are formatted with its tokenizer's chat template."""
    return tokenizers.has_chat_template(place_of(base))


def place_of(base: Path) -> Path:
    """Return the folder of a model's files: the folder itself, or the one that ``rung.json`` names."""
    folder = base if (base / "config.json").is_file() else place(base, read_rung(base))
    own = (base / RUNG).is_file() and folder == base
    check_folder(folder, own=own)
    if not own:
        tokenizers.try_out(folder)
    return folder


def _as_llama(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return an embedded Qwen2 as a Llama that computes the same.

    For every folder of type ``qwen2``, AutoTokenizer splits text in Qwen's own way, whatever ``tokenizer.json`` says.
    Embedded models have another tokenizer; as Llama they keep it. Llama has one more bias, which is 0.
    """
    import torch
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaForCausalLM

    shape = {name: getattr(model.config, name) for name in _SHAPE}
    with torch.random.fork_rng(devices=[]):
        other = LlamaForCausalLM(LlamaConfig(**shape, attention_bias=True, bos_token_id=None, eos_token_id=None))
    weights = {name: weight.detach() for name, weight in model.state_dict().items()}
    for name, weight in other.state_dict().items():
        if name.endswith("o_proj.bias"):
            weights[name] = torch.zeros_like(weight)
    other.load_state_dict(weights)
    ready: PreTrainedModel = other.eval()
    return ready


def _set_ends(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Set the end-of-text and padding tokens if the base does not, so that generation stops at the end."""
    for config in (model.config, model.generation_config):
        for name in ("eos_token_id", "pad_token_id"):
            if config is not None and getattr(config, name, None) is None:
                setattr(config, name, getattr(tokenizer, name))


def _write_tokenizer(tokenizer: "PreTrainedTokenizerBase", out: Path) -> None:
    tokenizer.save_pretrained(out)
    path = out / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings = {name: value for name, value in settings.items() if name not in _LOCAL_KEYS}
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the same class, by the name in older versions
    write_json(path, settings)


def _check_same(before: np.ndarray, after: np.ndarray, dtype: str, adapter: Path) -> None:
    """Refuse a merge that answers differently.

    Raises:
        DataError: With the largest difference.
    """
    most = TOLERANCE.get(dtype, ROUNDED)
    difference = float(np.abs(before - after).max(initial=0.0))
    if not difference <= most:
        raise DataError(
            f"{adapter}: expected the merged model to answer as the adapter on its base does, got log-probabilities "
            f"that differ by {difference:.2g} nats ({most:g} are allowed in {dtype}). Export it with --adapter-only."
        )
