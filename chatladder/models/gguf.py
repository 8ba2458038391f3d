"""Conversion of GGUF, llama.cpp's format, to a folder with safetensors, tokenizer and chat template.

Quantized weights of every type that the package gguf reads are dequantized to float32: a 16-bit type would round every
number of a Q4 block once more, and the model's answers would no longer be those of the file. Weights that are not
quantized keep their type. Equal files give equal bytes.

transformers reads the configuration and the tokenizer, and maps llama.cpp's names of tensors. Its own reader of tensors
does not support Q5_0, which most small Q4_K_M files contain; ``gguf.quants`` does.
"""

import importlib.util
import math
import mmap
import struct
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.files import share
from chatladder.models.folders import WEIGHTS, Stored, check_build, reading
from chatladder.models.loading import quiet
from chatladder.models.tokenizers import write_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


#: Pre-tokenizers, by llama.cpp's names, that are the default byte-level one of tokenizers.
PLAIN_SPLITS = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion")
#: Pre-tokenizers that first split off every digit. llama.cpp: "\p{N}", then GPT-2's expression.
DIGIT_SPLITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
#: The most tensors and settings of a file, and numbers and texts in its lists, which are read one by one.
#: A vocabulary of 250,000 tokens comes with as many token types and twice as many merges.
MOST_TENSORS, MOST_SETTINGS, MOST_ELEMENTS = 100_000, 10_000, 4_000_000
#: Bytes of a setting by its type, and the types of text and of lists.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_INTEGERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_TEXT, _LIST = 8, 9
#: Two tables count as equal if they differ by at most this share of their norm; 4-bit quantization costs a tenth.
SAME = 0.2
#: The number of rows to compare.
SAMPLED_ROWS = 1000


class Header(NamedTuple):
    """The description of a model in a file's header.

    Attributes:
        architecture: The architecture, by llama.cpp's name.
        dtype: The dtype for the weights.
        split: The pre-tokenizer, by llama.cpp's name; None if the tokenizer's kind determines it.
        types: The number of each tensor's type, by the tensor's name.
    """

    architecture: str
    dtype: "torch.dtype"
    split: str | None
    types: dict[str, int]


def convert(gguf: Path, folder: Path) -> None:
    """Write one GGUF file as a model folder that any loader reads.

    Args:
        gguf: The file, with its tokenizer, as llama.cpp's converter writes it.
        folder: An existing folder for the weights, configuration, tokenizer and chat template.

    Raises:
        DataError: If the package gguf is missing, or the file is damaged or would be misread.
    """
    if importlib.util.find_spec("gguf") is None:
        raise DataError("expected the package gguf, which reads weights of this kind, got none. pip install gguf")
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    quiet()
    named: dict[str, Any] = {"gguf_file": gguf.name}
    loader: Any = AutoModelForCausalLM
    with reading(gguf.name, "a model in GGUF"), redirect_stderr(StringIO()):  # its progress bar cannot be switched off
        stored = measure(gguf)
        header = _read_header(gguf)
        config = AutoConfig.from_pretrained(str(gguf.parent), **named)
        check_build(gguf.name, stored, config, lambda: loader.from_config(config))
        with torch.device("meta"):
            model = loader.from_config(config)
        weights = _read_weights(gguf, header, model)
        if _are_tied(weights, header):
            config.tie_word_embeddings = model.config.tie_word_embeddings = True
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), trust_remote_code=False, **named)
    _set_split(tokenizer, header.split)
    tokenizer.model_max_length = config.max_position_embeddings
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    _check_weights(gguf, weights, model)
    vars(config).pop("_model_name_or_path", None)
    config.dtype = header.dtype
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    save_file(dict(sorted(weights.items())), folder / WEIGHTS, metadata={"format": "pt"})
    write_tokenizer(tokenizer, folder)
    share(folder)


def _read_weights(gguf: Path, header: Header, model: "PreTrainedModel") -> "dict[str, torch.Tensor]":
    """Return the file's tensors, dequantized, by the model's names."""
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    from transformers.utils.quantization_config import GgufConfig

    if header.architecture not in _tables():  # a newer one, which only transformers' own reader of tensors supports
        loader: Any = AutoModelForCausalLM
        # Dequantized at once: otherwise transformers would look for a kernel on the hub, and run it.
        whole = {"gguf_file": gguf.name, "quantization_config": GgufConfig(dequantize=True)}
        return dict(loader.from_pretrained(str(gguf.parent), dtype=header.dtype, **whole).state_dict())
    loaded = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model, torch_dtype=header.dtype)
    weights: dict[str, torch.Tensor] = loaded["tensors"]
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _are_tied(weights: "dict[str, torch.Tensor]", header: Header) -> bool:
    """Return True if the output layer repeats the embedding, perhaps in another quantization.

    The one of the finer type then replaces both, so that the model has the size that its makers state.
    """
    from gguf import GGML_QUANT_SIZES

    table, output = (weights.get(name) for name in ("model.embed_tokens.weight", "lm_head.weight"))
    if table is None or output is None or table.shape != output.shape:
        return False
    some = slice(None, None, max(1, len(table) // SAMPLED_ROWS))
    one, other = table[some].double(), output[some].double()
    if float((one - other).norm()) > SAME * float(one.norm()):
        return False
    bits = {int(kind): size / block for kind, (block, size) in GGML_QUANT_SIZES.items()}
    if bits[header.types["output.weight"]] > bits[header.types["token_embd.weight"]]:
        weights["model.embed_tokens.weight"] = output
    return True


def _check_weights(gguf: Path, weights: "Mapping[str, torch.Tensor]", model: "PreTrainedModel") -> None:
    """Refuse a file that lacks weights of its model, or has them in other shapes.

    Raises:
        DataError: At the first such weight.
    """
    for name, tensor in model.named_parameters():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if name not in weights:
            raise DataError(f"{gguf.name}: expected all weights of the model, got none of {name}.")
        if weights[name].shape != tensor.shape:
            shapes = f"{[*tensor.shape]}, got {[*weights[name].shape]}"
            raise DataError(f"{gguf.name}: expected {name} of the shape {shapes}.")


def measure(gguf: Path) -> Stored:
    """Return the size of the weights that a GGUF file declares in its header.

    Source:
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: the header's layout and its types.

    Raises:
        DataError: If the header declares more than a model has, or more than the file can hold.
        ValueError, struct.error: If it is truncated or malformed.
    """
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tensors, settings = struct.unpack_from("<QQ", data, 8)
        _check_count(gguf, "tensors", tensors, MOST_TENSORS)
        _check_count(gguf, "settings", settings, MOST_SETTINGS)
        at, elements = 24, 0
        for _ in range(settings):
            name, at = _text(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            if kind in _INTEGERS and name.endswith(b".block_count"):
                (layers,) = struct.unpack_from(_INTEGERS[kind], data, at + 4)
                _check_count(gguf, "layers", layers, tensors)
            if kind == _LIST:
                kind, count = struct.unpack_from("<IQ", data, at + 4)
                elements += count
                _check_count(gguf, "elements in lists", elements, MOST_ELEMENTS)
                at += 12
            else:
                count = 1
            at = _after(data, at + 4, kind, count)
        shapes = []
        for _ in range(tensors):
            _, at = _text(data, at)
            (dimensions,) = struct.unpack_from("<I", data, at)
            _check_count(gguf, "dimensions", dimensions, 8)
            shapes.append(struct.unpack_from(f"<{dimensions}Q", data, at + 4))
            at += 4 + 8 * dimensions + 12
        params = sum(map(math.prod, shapes))
        # Even the smallest type takes more than one bit for each weight.
        _check_count(gguf, "weights", params, 8 * len(data))
    return Stored(params, tensors)


def _check_count(gguf: Path, what: str, count: int, most: int) -> None:
    if count > most:
        raise DataError(f"{gguf.name}: expected a model in GGUF, got: {count:,} {what}, of at most {most:,}.")


def _text(data: mmap.mmap, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    return data[at + 8 : at + 8 + length], at + 8 + length


def _after(data: mmap.mmap, at: int, kind: int, count: int) -> int:
    """Return the offset after ``count`` values of a type."""
    if kind == _TEXT:
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
        return at
    if kind not in _WIDTHS:
        raise ValueError(f"it holds a value of the type {kind}")
    return at + count * _WIDTHS[kind]


def _read_header(gguf: Path) -> Header:
    """Read the description of the model from the header.

    Raises:
        DataError: If transformers does not support the architecture, or would ignore a setting that changes the model's
            answers.
    """
    import torch
    from gguf import GGMLQuantizationType, GGUFReader
    from transformers.integrations.gguf.gguf_conversion_mapping import GGUF_ARCHS
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    reader = GGUFReader(gguf)
    types = {tensor.name: int(tensor.tensor_type) for tensor in reader.tensors}

    def value(name: str, default: str) -> Any:
        field = reader.get_field(name)
        return field.contents() if field else default

    architecture = str(value("general.architecture", "none"))
    known = sorted({*_tables(), *GGUF_ARCHS})
    if architecture not in known:
        raise DataError(
            f"{gguf.name}: expected an architecture whose tensors transformers can name ({', '.join(known)}), got "
            f"{architecture!a}. Take the model in safetensors instead: source: hub, or source: folder."
        )
    if value(f"{architecture}.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in types:
        raise DataError(f"{gguf.name}: expected plain rotary positions, got scaled ones, which would be read wrong.")
    split = value("tokenizer.ggml.pre", "none") if value("tokenizer.ggml.model", "") == "gpt2" else None
    known_splits = {*PLAIN_SPLITS, *DIGIT_SPLITS, *GGUF_PRE_TOKENIZER_SPLITS}
    if split is not None and split not in known_splits:
        raise DataError(f"{gguf.name}: expected a known way to split text, got {split!r}; tokens would be wrong.")
    plain = {
        GGMLQuantizationType.F32: torch.float32,
        GGMLQuantizationType.F16: torch.float16,
        GGMLQuantizationType.BF16: torch.bfloat16,
    }
    # Norms are always float32, so the narrowest plain type is the model's.
    narrow = [plain.get(GGMLQuantizationType(kind), torch.float32) for kind in types.values()]
    is_plain = {*types.values()} <= {*plain}
    dtype = min(narrow, key=lambda each: each.itemsize) if is_plain and narrow else torch.float32
    return Header(architecture, dtype, split, types)


def _tables() -> set[str]:
    """Return the architectures whose tensor names transformers can map, by llama.cpp's names."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_TO_TRANSFORMERS_MAPPING

    others = {"general", "tokenizer"}
    table: Any = GGUF_TO_TRANSFORMERS_MAPPING["config"]
    names = (name for name in table if name not in others)
    return {name.replace("_moe", "moe").replace("_m2", "-m2").replace("gpt_oss", "gpt-oss") for name in names}


def _set_split(tokenizer: "PreTrainedTokenizerBase", split: str | None) -> None:
    """Set a pre-tokenizer that transformers' reader does not support."""
    from tokenizers import pre_tokenizers

    if split in DIGIT_SPLITS:
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        backend: Any = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
