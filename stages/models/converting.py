"""A model in GGUF, llama.cpp's format, as safetensors with its tokenizer and chat template.

Quantized weights are multiplied out into float32: of what a block of Q4 stands for, a 16-bit type would round every
number once more, and what the model then says would no longer be what its file says. Weights that are plain numbers
keep their type. Equal files give equal bytes.
"""

import importlib.util
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.cli import DataError
from stages.files import share
from stages.models.loading import quiet
from stages.models.tokenizers import write_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

#: Ways to split text, as llama.cpp names them, that are the tokenizers' own default for bytes.
PLAIN_SPLITS = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion")
#: As plain ones, after every digit was set apart. llama.cpp: "\p{N}", then GPT-2's expression.
DIGIT_SPLITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


def convert(gguf: Path, folder: Path) -> None:
    """Write one GGUF file as a model folder that any loader reads.

    Args:
        gguf: With its tokenizer, as llama.cpp's converter writes it.
        folder: That exists; it gains weights, configuration, tokenizer and chat template.

    Raises:
        DataError: If the package gguf is missing, or the file is damaged or of a kind that would not be read right.
    """
    if importlib.util.find_spec("gguf") is None:
        raise DataError("expected the package gguf, which reads weights of this kind, got none. pip install gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    quiet()
    named: dict[str, Any] = {"gguf_file": gguf.name}
    try:
        dtype, split = _read_header(gguf)
        # Multiplied out at once: else transformers would look for a kernel on the hub, and run it.
        whole = {"quantization_config": GgufConfig(dequantize=True), "output_loading_info": True}
        loader: Any = AutoModelForCausalLM
        with redirect_stderr(StringIO()):  # its progress bar cannot be switched off
            model, said = loader.from_pretrained(str(gguf.parent), dtype=dtype, **named, **whole)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), trust_remote_code=False, **named)
    except DataError:
        raise
    except Exception as error:  # whatever the readers stumble over in a damaged file
        raise DataError(f"{gguf.name}: expected a model in GGUF, got: {error or type(error).__name__}") from error
    if missing := sorted(said["missing_keys"]):
        raise DataError(f"{gguf.name}: expected all weights of the model, got none of {missing[0]}.")
    _set_split(tokenizer, split)
    tokenizer.model_max_length = model.config.max_position_embeddings
    vars(model.config).pop("_model_name_or_path", None)
    with torch.inference_mode():
        model.save_pretrained(folder)
    write_tokenizer(tokenizer, folder)
    share(folder)


def _read_header(gguf: Path) -> "tuple[torch.dtype, str | None]":
    """The type that weights are to have, and the way text is split; None where the tokenizer's kind decides.

    Raises:
        DataError: If transformers would pass over something that decides what the model says.
    """
    import torch
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

    metadata, tensors = read_gguf_metadata(str(gguf))
    architecture = metadata["general.architecture"]
    scaling = metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in tensors:
        raise DataError(f"{gguf.name}: expected plain rotary positions, got scaled ones, which would be read wrong.")
    split = metadata.get("tokenizer.ggml.pre", "none") if metadata.get("tokenizer.ggml.model") == "gpt2" else None
    known = {*PLAIN_SPLITS, *DIGIT_SPLITS, *GGUF_PRE_TOKENIZER_SPLITS}
    if split is not None and split not in known:
        raise DataError(f"{gguf.name}: expected a known way to split text, got {split!r}; tokens would be wrong.")
    return GgufHeader.from_file(str(gguf)).dtype or torch.float32, split


def _set_split(tokenizer: "PreTrainedTokenizerBase", split: str | None) -> None:
    """Give the tokenizer what transformers' reader does not know."""
    from tokenizers import pre_tokenizers

    if split in DIGIT_SPLITS:
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        backend: Any = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
