"""Tiny chat models with random weights in folders like downloaded ones: any architecture, with bytes as tokens."""

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 256,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
#: Further settings of each architecture besides SIZES. Gemma's first layer attends to only 8 tokens.
ARCHITECTURES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 48},
    "qwen3_moe": {**EXPERTS, "head_dim": 16},
    "gemma3_text": {
        "head_dim": 16,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 16,
    },
}


def bytes_tokenizer(template: str | None = TEMPLATE, **options):
    """Return a tokenizer whose tokens are the 256 bytes and the special tokens of a chat."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({byte: number for number, byte in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in MARKS])
    given = {"eos_token": "<|endoftext|>", **options}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **given)
    tokenizer.chat_template = template
    return tokenizer


def random_weights(architecture: str, **sizes):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **{**SIZES, **ARCHITECTURES.get(architecture, {}), **sizes})
    return AutoModelForCausalLM.from_config(config).eval()


def write_model(folder: Path, architecture: str = "llama", tokenizer=None, **sizes) -> Path:
    """Write a model folder with its tokenizer."""
    random_weights(architecture, **sizes).save_pretrained(folder)
    (tokenizer or bytes_tokenizer()).save_pretrained(folder)
    return folder
