"""An embedded model as a GGUF file, so that a real server can answer with it; needs the package gguf."""

import json
import re
from pathlib import Path

from gguf_files import NAMES, add_shape
from safetensors.numpy import load_file

#: The message and a line break, our prompt for a model without a chat template.
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


def write_gguf(base: Path, path: Path) -> None:
    """Write the model of an embedded base folder, in float32, with its tokenizer and ``TEMPLATE``."""
    import gguf

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, "qwen2")
    add_shape(writer, config)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, base)
    for name, weights in load_file(base / "model.safetensors").items():
        writer.add_tensor(_renamed(name), weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer, base):
    import gguf

    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    ids = {text: (place, gguf.TokenType.NORMAL) for text, place in tokenizer["model"]["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        ids[token["content"]] = (token["id"], kind)
    ordered = sorted(ids.items(), key=lambda pair: pair[1][0])
    writer.add_tokenizer_model("gpt2")
    # Splits letters, digits and signs as the byte-level tokenizer does; a Han character merges with no other.
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([text for text, _ in ordered])
    writer.add_token_types([kind for _, (_, kind) in ordered])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(ids[settings["eos_token"]][0])
    writer.add_pad_token_id(ids[settings["pad_token"]][0])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _renamed(name):
    stem, kind = name.rsplit(".", 1)
    if layer := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem):
        return f"blk.{layer[1]}.{NAMES[layer[2]]}.{kind}"
    return f"{NAMES[stem]}.{kind}"
