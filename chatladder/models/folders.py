"""The only access to a model folder: the files that are read, and the checks before a model is built.

A folder may be untrusted. Nothing in it may lead to another model, elsewhere on the disk or to the hub, and none of its
code runs. Its configuration may not describe a larger model than its weights, whose size on the disk cannot be faked.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError, printable, shortened
from chatladder.io.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: The only subfolder that is read.
MORE_TEMPLATES = "additional_chat_templates"
#: Suffixes of files that are read as text; other files are weights, or are not read.
TEXTS = (".json", ".jinja", ".txt", ".model")
#: The most bytes of a text file. The largest tokenizers take 35 MB.
LARGEST_TEXT = 64 * 1024**2
#: The most layers and classes of a configuration: it makes lists of them before its weights can be checked.
MOST_LAYERS = 100_000
#: The most numbers of a built model for each stored one: tied layers count twice, and packed weights are fewer.
GROWTH, PACKED_GROWTH = 4, 64
#: Numbers and modules allowed in addition, whatever the weights: tables of positions, and empty modules.
TABLES, MODULES = 2**28, 1000
#: The most modules for each tensor, including containers and modules without weights.
MODULES_A_TENSOR = 50
#: The most characters of a reader's error message.
LONGEST_REASON = 300


class Stored(NamedTuple):
    """The size of a model's weights on the disk."""

    params: int
    tensors: int


@contextmanager
def reading(place: str, expected: str) -> Iterator[None]:
    """Keep the readers in the block off the hub, and turn any of their errors into one that names the input.

    Readers written in Rust panic at some damaged files, and such a panic is not an ``Exception`` of Python.

    Args:
        place: The name of the input.
        expected: The expected content, for the error.

    Raises:
        DataError: In place of any other error.
    """
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{place}: expected {expected}, got: {_reason(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # each of these readers has its own class of this name
            raise
        raise DataError(f"{place}: expected {expected}, got a file that its reader cannot cope with.") from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _reason(error: Exception) -> str:
    return shortened(printable(" ".join(str(error).split())), LONGEST_REASON) or type(error).__name__


def check_folder(folder: Path, *, own: bool) -> dict[str, Any]:
    """Refuse a model folder with links out of it, or with files that no model has; return its configuration.

    Args:
        folder: The folder with the weights, the configuration and the tokenizer.
        own: True if a stage wrote it. DVC may link such files to its cache; in other folders no link may lead out.

    Raises:
        DataError: If the folder is refused, with the reason and the remedy.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        raise DataError(
            f"{folder}: expected a model, got a folder with an adapter ({ADAPTER_CONFIG}). Merge it into its base "
            "first, or remove what belongs to the adapter if the model is whole."
        )
    for path in sorted([*folder.iterdir(), *(folder / MORE_TEMPLATES).glob("*")]):
        if not own and path.is_symlink():
            _check_link(path, folder)
        if path.suffix in TEXTS and path.is_file() and (size := path.stat().st_size) > LARGEST_TEXT:
            raise DataError(f"{path}: expected no more than {LARGEST_TEXT:,} bytes, got {size:,}.")
    weight_files(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(f"{folder}: expected a model with a config.json, got none.")
    config = read_json(path)
    if not isinstance(config, dict):
        raise DataError(f"{path}: expected an object, got {type(config).__name__}.")
    _check_values(config, path)
    return config


def _check_link(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of the folder, or out of its repository in the hub's cache.

    Raises:
        DataError: If it does.
    """
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parents[1]
    if not path.resolve().is_relative_to(root):
        raise DataError(f"{path}: expected a file in the folder, got a link that leads out of it. Copy the file.")


def _check_values(value: Any, path: Path) -> None:
    """Refuse weights other than the folder's safetensors, and counts that would keep a configuration busy for hours.

    Raises:
        DataError: At the first such value.
    """
    if isinstance(value, list):
        for each in value:
            _check_values(each, path)
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        if ("layer" in name or "label" in name) and isinstance(each, (int, float)) and each > MOST_LAYERS:
            raise DataError(f"{path}: expected {name} of no more than {MOST_LAYERS:,}, got {each:,}.")
        if name == "transformers_weights" and each not in (None, WEIGHTS, INDEX):
            raise DataError(f"{path}: expected weights in {WEIGHTS}, got {each}.")
        _check_values(each, path)


def read_config(folder: Path) -> "PreTrainedConfig":
    """Return transformers' configuration of a folder that was checked.

    Raises:
        DataError: If transformers does not support the architecture without code from the folder.
    """
    from transformers import AutoConfig

    with reading(str(folder), "a configuration that loads"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    return config


def check_model_folder(folder: Path, *, own: bool) -> dict[str, Any]:
    """Refuse a folder as ``check_folder``, or if its model is larger than its weights; return its configuration.

    Args:
        folder: The folder with the weights, the configuration and the tokenizer.
        own: True if a stage wrote it.

    Raises:
        DataError: If the folder is refused, with the reason and the remedy.
    """
    from transformers import AutoModelForCausalLM

    raw = check_folder(folder, own=own)
    stored = [shape for path in weight_files(folder) for shape in shapes(path)]
    config = read_config(folder)
    with reading(str(folder), "a model that can be built"):
        # Any attention other than the plain one may be a kernel that the configuration names.
        check_build(
            str(folder),
            Stored(sum(map(math.prod, stored)), len(stored)),
            config,
            lambda: AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="eager"),
        )
    return raw


def check_build(place: str, stored: Stored, config: "PreTrainedConfig", build: "Callable[[], PreTrainedModel]") -> None:
    """Build a model without its weights, and refuse it as soon as it is larger than its weights.

    Args:
        place: The name of the input.
        stored: The size of the model's weights.
        config: The model's configuration.
        build: A function that builds the model from the configuration.

    Raises:
        DataError: If it is larger, with the size of its weights.
    """
    import torch
    from torch.nn.modules import module as hooks

    packed = getattr(config, "quantization_config", None) is not None
    most = TABLES + stored.params * (PACKED_GROWTH if packed else GROWTH)
    most_modules = MODULES + stored.tensors * MODULES_A_TENSOR
    numbers = modules = 0

    def count(_module: object, _name: str, tensor: Any) -> None:
        nonlocal numbers
        numbers += tensor.numel() if tensor is not None else 0
        if numbers > most:
            raise _beyond(place, stored)

    def count_module(_module: object, _name: str, _inner: object) -> None:
        nonlocal modules
        modules += 1
        if modules > most_modules:
            raise _beyond(place, stored)

    with ExitStack() as stack:
        for handle in (
            hooks.register_module_parameter_registration_hook(count),
            hooks.register_module_buffer_registration_hook(count),
            hooks.register_module_module_registration_hook(count_module),
        ):
            stack.callback(handle.remove)
        stack.enter_context(torch.device("meta"))
        build()


def _beyond(place: str, stored: Stored) -> DataError:
    return DataError(
        f"{place}: expected a configuration of the model whose weights are there, {stored.params:,} in all, got one "
        "of a far larger model."
    )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's weights: those of its index, or one file.

    The folder may hold others: an adapter, or the same weights in another layout.

    Raises:
        DataError: If there is none, or one that the index names is missing.
    """
    index = folder / INDEX
    try:
        names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [WEIGHTS]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{index}: expected a weight_map from weights to files, got none.") from error
    for name in names:
        if not isinstance(name, str) or name != Path(name).name:
            raise DataError(f"{index}: expected names of files in this folder, got {name}.")
        if not (folder / name).is_file():
            raise DataError(
                f"{folder}: expected a model in safetensors, got no {name}. Weights in pickles are not read; "
                "convert them first."
            )
    return [folder / name for name in names]


def count_parameters(folder: Path) -> int:
    """Return a model's number of parameters, from the headers of its safetensors; a tied embedding counts once.

    Raises:
        DataError: If the folder holds none, or a damaged one.
    """
    return sum(math.prod(shape) for path in weight_files(folder) for shape in shapes(path))


def shapes(path: Path) -> list[list[int]]:
    """Return the shapes of the tensors in one safetensors file, from its header.

    Raises:
        DataError: If it is damaged.
    """
    from safetensors import safe_open

    with reading(str(path), "weights in safetensors"), safe_open(path, framework="numpy") as weights:
        return [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118


#: The fields of an adapter's configuration that stages.train sets; the others have peft's defaults.
_OURS = {
    "r", "lora_alpha", "lora_dropout", "target_modules", "target_parameters", "use_rslora", "use_dora",
    "task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_version", "auto_mapping",
}  # fmt: skip


def check_adapter_config(path: Path, widest: int) -> None:
    """Refuse an adapter that stages.train does not write: peft follows paths, imports modules and matches expressions.

    Args:
        path: The path of its adapter_config.json.
        widest: The largest dimension of its weights.

    Raises:
        DataError: If it is refused, with the unexpected field.
    """
    from peft import LoraConfig

    config = read_json(path)
    usual: dict[str, Any] = LoraConfig().to_dict()  # type: ignore[no-untyped-call]
    names = config if isinstance(config, Mapping) else {"it": None}
    wrong = [name for name, value in names.items() if name not in _OURS and value and value != usual.get(name)]
    rank = names.get("r")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank <= widest:
        wrong.append("r")
    wrong += [name for name in ("target_modules", "target_parameters") if not _is_names(names.get(name))]
    if wrong:
        raise DataError(f"{path}: expected a LoRA adapter written by stages.train, got another {wrong[0]}.")


def _is_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))
