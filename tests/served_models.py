"""An embedded model as a file of llama.cpp (GGUF), so that a real server can answer with it; needs the package gguf."""

import json
import re
from pathlib import Path

from safetensors.numpy import load_file

#: The message and a line break: what a model without a chat template reads here.
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
#: Names of Qwen2's weights in GGUF.
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(base: Path, path: Path) -> None:
    """Write the model of an embedded base folder, in float32, with its tokenizer and ``TEMPLATE``."""
    import gguf

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
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
    # Letters, digits and signs apart, as the byte-level tokenizer cuts them; a hanzi merges with no other.
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
