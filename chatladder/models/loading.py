"""Load a rung of the ladder: its base model and tokenizer, with an adapter on top if one is given.

Weights are read from safetensors only (pickles can run code) and no code of a model's repository is ever run.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.models.devices import QUANTIZED, check_map, device, placement, prepare_torch
from chatladder.models.folders import (
    ADAPTER_CONFIG,
    check_adapter_config,
    check_model_folder,
    reading,
    shapes,
    weight_files,
)
from chatladder.models.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: The file of a base folder that describes its model: source, name, params and location.
RUNG = "rung.json"
#: The file of an adapter folder that describes its training: the seed, and how it ended.
TRAINING = "training.json"
#: The name of a further seed's folder inside a base or adapter folder; each is complete in itself.
SEED_FOLDER = "seed_{}"
#: The files to fetch of a hub model: no pickles, no code.
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
#: Copies of the same weights that some hub models have for other programs.
OTHER_LAYOUTS = ("*/*", "consolidated*.safetensors")


def read_rung(base: Path) -> dict[str, Any]:
    """Return the description of a rung: ``source``, ``name``, ``params`` and the fields of its source.

    Raises:
        DataError: If the folder is not a base folder.
    """
    path = base / RUNG
    if not path.is_file():
        raise DataError(f"{base}: expected a folder written by stages.base, got none that holds {RUNG}.")
    described = read_json(path)
    if not isinstance(described, dict) or not all(isinstance(described.get(key), str) for key in ("source", "name")):
        raise DataError(f"{path}: expected the description of a base with its source and its name, got another.")
    return described


def replicates(base: Path) -> dict[int, Path]:
    """Return the base folders of a rung's models by training seed, the rung's own folder first.

    Only embedded rungs have several models; any other has one, as seed 0.

    Args:
        base: A folder written by ``stages.base``.

    Raises:
        DataError: If a folder is damaged or incomplete.
    """
    if read_rung(base)["source"] != "embedded":
        return {0: base}
    folders = _by_seed(base, RUNG, read_rung)
    for folder in [*folders.values()][1:]:
        weight_files(folder)
    return folders


def adapters_of(adapter: Path) -> dict[int, Path]:
    """Return the adapter folders of a rung by training seed, the rung's own folder first.

    Args:
        adapter: A folder written by ``stages.train``; if it names no seed, its seed is 0.

    Raises:
        DataError: If a folder is damaged or incomplete.
    """
    return _by_seed(adapter, TRAINING, _read_training)


def base_of(base: Path, seed: int) -> Path:
    """Return the folder of the base model for an adapter of this seed: the same seed's, or else the rung's first.

    Raises:
        DataError: As for ``replicates``.
    """
    return replicates(base).get(seed, base)


def _by_seed(folder: Path, file: str, read: "Callable[[Path], dict[str, Any]]") -> dict[int, Path]:
    """Return the folder and the seed folders in it, by the seed that each one's file names."""
    folders = {_seed(folder, file, read): folder}
    others = [other for other in folder.glob(SEED_FOLDER.format("*")) if other.is_dir()]
    for seed, other in sorted((_seed(other, file, read), other) for other in others):
        if seed in folders or other.name != SEED_FOLDER.format(seed):
            raise DataError(
                f"{other / file}: expected the seed that the folder is named after, and once in {folder}, got {seed}. "
                "Run the stage that wrote it again."
            )
        folders[seed] = other
    return folders


def _seed(folder: Path, file: str, read: "Callable[[Path], dict[str, Any]]") -> int:
    seed = read(folder).get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise DataError(f'{folder / file}: expected "seed" to be a whole number, got {seed!a}.')
    return seed


def _read_training(adapter: Path) -> dict[str, Any]:
    path = adapter / TRAINING
    said = read_json(path) if path.is_file() else {}
    if not isinstance(said, dict):
        raise DataError(f"{path}: expected a JSON object of what was trained, got another. Run the train stage again.")
    return said


def load(
    base: Path, adapter: Path | None = None, *, quantized: bool = True, dtype: "torch.dtype | None" = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Return the model, ready to score, and its tokenizer.

    Args:
        base: A folder written by ``stages.base``. With an adapter, the model in it that the adapter belongs to is used.
        adapter: A folder written by ``stages.train``, of an adapter or of all weights; None for the untouched model.
        quantized: False ignores ``load_in_4bit`` and ``load_in_8bit`` of the rung: a merge needs the full weights.
        dtype: The dtype of the weights; by default the device's best. Embedded models are float32.

    Raises:
        DataError: If the folders or the weights cannot be used.
    """
    prepare_torch()
    quiet()
    if adapter is not None:
        base = base_of(base, _seed(adapter, TRAINING, _read_training))
    rung = read_rung(base)
    if rung["source"] == "endpoint":
        raise DataError(f"{base}: expected a model with weights, got one that is served elsewhere; it only answers.")
    whole = adapter if adapter is not None and (adapter / "config.json").is_file() else None
    folder = place(base, rung)
    check_model_folder(folder, own=folder == base)
    if whole is not None:
        check_model_folder(whole, own=True)
    with reading(str(base), "a model that loads"):
        if rung["source"] == "embedded":
            model, tokenizer = _embedded(base, whole)
        else:
            model, tokenizer = _any(folder, rung if quantized else _unquantized(rung), whole, dtype)
    if adapter is not None and whole is None:
        model = _adapted(model, adapter)
    return model.eval(), tokenizer


def within_context(model: "PreTrainedModel", max_length: int) -> int:
    """Return the most tokens of a prompt with its answer: ``max_length``, or the model's context length if smaller."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(max_length, int(context)) if context else max_length


def quiet() -> None:
    """Keep progress bars of loading and a deprecation warning caused by peft out of a stage's output."""
    import warnings

    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


def _unquantized(rung: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rung.items() if name not in QUANTIZED}


def _embedded(base: Path, whole: Path | None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    # The auto classes would import more; embedded models are always Qwen2, and so small that the CPU is as fast.
    import torch
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(whole or base, dtype=torch.float32, use_safetensors=True)
    return model, PreTrainedTokenizerFast.from_pretrained(base)


def add_adapter(model: "PreTrainedModel", adapter: Path, name: str) -> None:
    """Load a further adapter into a model; the first one stays active.

    Args:
        model: A model with an adapter, as ``load`` returns it.
        adapter: A folder written by ``stages.train``, of the same base.
        name: The adapter's name for ``set_adapter``.

    Raises:
        DataError: If the adapter cannot be used.
    """
    _check_adapter(adapter)
    with reading(str(adapter), "an adapter of this base model"):
        cast("Any", model).load_adapter(str(adapter), name, torch_device=str(model.device))


def _adapted(model: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    from peft import PeftModel

    _check_adapter(adapter)
    with reading(str(adapter), "an adapter of this base model"):
        adapted = PeftModel.from_pretrained(model, str(adapter), torch_device=str(model.device))
    return cast("PreTrainedModel", adapted)


def _check_adapter(adapter: Path) -> None:
    # Checked here because peft would otherwise look for the folder's name on the hub, or read a pickle.
    config, weights = adapter / ADAPTER_CONFIG, adapter / "adapter_model.safetensors"
    for path in (config, weights):
        if not path.is_file():
            raise DataError(
                f"{adapter}: expected an adapter folder written by stages.train, got none with {path.name}."
            )
    check_adapter_config(config, max((size for shape in shapes(weights) for size in shape), default=0))


def _any(
    folder: Path, rung: dict[str, Any], whole: Path | None, dtype: "torch.dtype | None"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    tokenizer = load_tokenizer(folder, rung.get("chat_template", "auto"))
    chosen = placement(rung["params"], rung, dtype)
    model, report = loader.from_pretrained(
        str(whole or folder), use_safetensors=True, trust_remote_code=False, output_loading_info=True, **chosen
    )
    if missing := sorted(report["missing_keys"]):
        raise DataError(
            f"{folder}: expected all weights of the model, got none of {missing[0]} ({len(missing)} in all)."
        )
    check_map(model)
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    if not {"device_map", "quantization_config"} & {*chosen}:
        model = model.to(device())
    _name_end(model, tokenizer)
    return model, tokenizer


def _contiguous(_: "torch.nn.Module", inputs: "tuple[torch.Tensor, ...]") -> "tuple[torch.Tensor, ...]":
    """Return the hidden states as a contiguous tensor, which the output layer multiplies fast.

    ``logits_to_keep`` slices them, and torch copies frozen weights once for each row of a batch that is not contiguous:
    272 MB a row for Qwen2.5 0.5B, which took more time and memory than the model itself.
    """
    return (inputs[0].contiguous(), *inputs[1:])


def place(base: Path, rung: dict[str, Any]) -> Path:
    """Return the folder with a rung's weights and tokenizer; a hub model's is in the hub's cache.

    Raises:
        DataError: If the folder is missing, or a hub model cannot be fetched.
    """
    if rung["source"] == "hub":
        return fetch(rung["repo"], rung["revision"])
    folder = Path(rung["path"]) if rung["source"] == "folder" else base
    if not folder.is_dir():  # transformers would look for its name on the hub
        raise DataError(f"{base / RUNG}: expected a model in the folder {folder}, got no such folder.")
    return folder


def _name_end(model: Any, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Make generation also stop at the token that ends an answer in our prompts."""
    config, end = model.generation_config, tokenizer.eos_token_id
    known = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if end is not None and end not in known:
        others = [number for number in known if number is not None]
        config.eos_token_id = [end, *others] if others else end


def fetch(repo: str, revision: str) -> Path:
    """Return the folder of one commit of a hub model in the hub's cache; download it if it is incomplete.

    Only safetensors and text are fetched.

    Raises:
        DataError: If it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"allow_patterns": list(HUB_FILES), "ignore_patterns": list(OTHER_LAYOUTS)}
    try:
        cached = Path(snapshot_download(repo, revision=revision, local_files_only=True, **wanted))
        weight_files(cached)
        if (cached / "config.json").is_file():
            return cached
    except (DataError, OSError, ValueError):
        pass  # the cached folder is incomplete
    try:
        return Path(snapshot_download(repo, revision=revision, **wanted))
    except (OSError, ValueError) as error:
        raise DataError(f"{repo}@{revision}: expected a model on the hub, got: {error}") from error
