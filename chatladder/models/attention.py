"""What a model's attention can be asked to do: see a mask of ours, and go on after tokens that were read before."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Architectures that take a 4-d mask and plain positions; a test compares each with separate passes.
BLOCK_MASK = ("llama", "mistral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3")
#: Implementations of attention that read such a mask.
MASKED = ("sdpa", "eager")


def takes_blocks(config: "PretrainedConfig") -> bool:
    """Whether the options of a prompt can be read side by side, each blind to the others.

    Layers that see a sliding window alone would see all through our mask; kernels such as flash attention take none.
    """
    kinds = getattr(config, "layer_types", None)
    windowed = {*kinds} != {"full_attention"} if kinds else bool(getattr(config, "sliding_window", None))
    return config.model_type in BLOCK_MASK and not windowed and config._attn_implementation in MASKED
