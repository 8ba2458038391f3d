"""An adapter for llama.cpp and Ollama: a GGUF file that is applied to the base's own file when the model is loaded.

Sources:
    https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp: the keys, names and shapes that are read,
    and the scale: alpha over the rank.
    https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py: the models whose rows are permuted.
"""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatladder.cli.export.merging import ADAPTER_FILES, check_adapter, place_of
from chatladder.models.folders import read_config
from chatladder.models.loading import read_rung

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "adapter.gguf"
#: transformers' name of an architecture -> llama.cpp's. Each was run in both; others may need permuted rows.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
#: Architectures whose rows of queries and keys are permuted.
_PAIRED = ("llama",)
_NAME = re.compile(r"base_model\.model\.(?P<layer>model\.layers\.\d+\.(?P<part>.+))\.lora_(?P<side>[AB])\.weight")


def write_gguf(adapter: Path, base: Path, out: Path) -> str | None:
    """Write an adapter as a GGUF file for llama.cpp, in float32.

    Args:
        adapter: A folder written by ``stages.train``.
        base: A folder written by ``stages.base``, of the adapter's base.
        out: The file.

    Returns:
        The reason why there is no file, as a clause to follow "since"; None if it was written.
    """
    import gguf

    config = check_adapter(adapter, base)
    if read_rung(base)["source"] == "embedded":
        return "its base is an embedded model, which llama.cpp does not support"
    if config.get("use_dora"):
        return "it was trained with DoRA, which llama.cpp's adapters do not support"
    model: Any = read_config(place_of(base))
    architecture = ARCHITECTURES.get(model.model_type)
    if architecture is None:
        return f"its base is of the type {model.model_type}, and this works for {', '.join(sorted(ARCHITECTURES))}"
    tensors = _tensors(adapter / ADAPTER_FILES[1], architecture, model)
    if tensors is None:
        return "it changes more than the linear layers of each block"
    writer = gguf.GGUFWriter(out, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    # llama.cpp divides alpha by the rank, rank-stabilised scaling by its square root.
    alpha = float(config["lora_alpha"]) * (math.sqrt(config["r"]) if config.get("use_rslora") else 1)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return None


def _tensors(path: Path, architecture: str, model: Any) -> "dict[str, NDArray[np.float32]] | None":
    """Return an adapter's matrices by llama.cpp's names; None if llama.cpp has no name for one."""
    import gguf
    from safetensors.torch import load_file

    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, model.num_hidden_layers)
    heads = {"self_attn.q_proj": model.num_attention_heads, "self_attn.k_proj": model.num_key_value_heads}
    tensors = {}
    for name, weight in sorted(load_file(path).items()):
        found = _NAME.fullmatch(name)
        theirs = names.get_name(found["layer"]) if found else None
        if found is None or theirs is None:
            return None
        values = weight.float().numpy()
        if found["side"] == "B" and architecture in _PAIRED and found["part"] in heads:
            values = _paired(values, heads[found["part"]])
        tensors[f"{theirs}.weight.lora_{found['side'].lower()}"] = values
    return tensors


def _paired(rows: "NDArray[np.float32]", heads: int) -> "NDArray[np.float32]":
    """Return rows in llama.cpp's order for Llama: the two rows of a rotary pair are adjacent, not half a head apart.

    Args:
        rows: Rows of queries or keys, shape ``(heads * size, rank)``.
        heads: The number of heads.
    """
    halves = rows.reshape(heads, 2, -1, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)
