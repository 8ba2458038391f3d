"""A small model as a file of llama.cpp (GGUF), quantized or not; needs the package gguf."""

import json
from pathlib import Path

import numpy as np
from folder_models import TEMPLATE

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{part}_proj": f"attn_{part}" for part in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
}


def add_shape(writer, config):
    """Write what a Qwen2 model's config.json says of its shape."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def write_gguf(
    folder: Path,
    path: Path,
    *,
    split="smollm",
    quantized="F32",
    extra=(),
    output=None,
    left_out=(),
    architecture="qwen2",
):
    """Write the Qwen2 model of a folder as GGUF.

    Args:
        folder: The model.
        path: The file to write.
        split: llama.cpp's name of how text is split.
        quantized: The type of the matrices.
        extra: Names of tensors that no model has.
        output: The type of an output layer of its own that repeats the embeddings.
        left_out: Names of weights that are not written.
        architecture: llama.cpp's name of it.
    """
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, architecture)
    add_shape(writer, config)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {token["content"] for token in tokenizer["added_tokens"]}
    ids = {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in tokenizer["added_tokens"]}}
    unused = [f"<unused{number}>" for number in range(config["vocab_size"] - len(ids) - 1)]
    tokens = [*sorted(ids, key=ids.get), "ĠĠ", *unused]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in added else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_chat_template(TEMPLATE)
    weights = load_file(folder / "model.safetensors")
    types = {name: quantized if values.ndim == 2 else "F32" for name, values in weights.items()}
    if output:
        weights["lm_head.weight"], types["lm_head.weight"] = weights["model.embed_tokens.weight"], output
    for name in [*(name for name in weights if name not in left_out), *extra]:
        stem, kind = name.rsplit(".", 1)
        _, _, rest = stem.partition("layers.")
        layer, _, part = rest.partition(".")
        ours = f"blk.{layer}.{NAMES[part]}.{kind}" if rest else f"{NAMES.get(stem, stem)}.{kind}"
        values = weights.get(name, np.ones(8, dtype=np.float32))
        number = gguf.GGMLQuantizationType[types.get(name, "F32")]
        writer.add_tensor(ours, gguf.quants.quantize(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
