"""A small model as a GGUF file, quantized or not; needs the package gguf."""

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
    **{f"self_attn.{part}_norm": f"attn_{part}_norm" for part in "qk"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
}


def add_shape(writer, config):
    """Write the shape in a model's config.json."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def in_pairs(values, heads):
    """Return rows of Llama's queries or keys in the order of its files: row i of each head, then row i + half."""
    half = len(values) // heads // 2
    return np.stack(
        [values[2 * half * head + row + side * half] for head in range(heads) for row in range(half) for side in (0, 1)]
    )


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
    """Write the model of a folder as GGUF: a Qwen2, or one with Qwen2's names of tensors.

    Args:
        folder: The folder of the model.
        path: The file to write.
        split: The pre-tokenizer, by llama.cpp's name.
        quantized: The type of the matrices.
        extra: Names of additional tensors that no model has.
        output: The type of a separate output layer that repeats the embedding; None writes none.
        left_out: Names of weights to leave out.
        architecture: The architecture, by llama.cpp's name.
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
    if architecture == "llama":
        for name in weights:
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
                weights[name] = in_pairs(weights[name], heads)
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
