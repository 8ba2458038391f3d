"""Parameters, disk space and memory of a model, computed from its shape before anything is downloaded.

Training is either LoRA on a frozen base, whose weights keep their dtype while the adapter's are float32, or of all
weights, in float32. The memory kept for the backward pass is counted tensor by tensor (see ``kept_bytes``); a test
compares the count with torch's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FLOAT = 4
#: Upper bounds of the tokens of an answer with its end, and of all options in all their orders.
ANSWER_TOKENS = 10
OPTION_TOKENS = 30
#: The fewest tokens of a row in a scored batch: the instructions around a message.
SHORTEST_PROMPT = 100
#: Memory of torch, its kernels and the tokenizer besides tensors: measured at 0.6 GiB without a GPU, 1 with one.
RUNTIME = 1024**3
#: Bytes of a model's configuration, tokenizer and other files.
OTHER_FILES = 20 * 1024**2


@dataclass(frozen=True)
class Shape:
    """A Llama-like decoder as its config.json describes it, in transformers' names.

    Attributes:
        hidden_size: Width.
        num_hidden_layers: Number of layers.
        num_attention_heads: Query heads in a layer.
        num_key_value_heads: Heads of keys and values in a layer.
        head_dim: Width of a head.
        intermediate_size: Width of the feed-forward part; for a mixture, of the shared expert.
        vocab_size: Rows of the embedding.
        tie_word_embeddings: True if the output layer shares the embedding's weights.
        attention_bias: True if queries, keys and values have a bias.
        head_norms: True if queries and keys are normalized head by head.
        num_experts: Experts of a mixture; 0 for a dense model.
        num_experts_per_tok: Experts that one token passes through.
        moe_intermediate_size: Width of one expert.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    head_norms: bool = False
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0

    @property
    def queries(self) -> int:
        """Width of all query heads."""
        return self.num_attention_heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads."""
        return self.num_key_value_heads * self.head_dim


@dataclass(frozen=True)
class Training:
    """The settings of a rung that determine its memory in training.

    Attributes:
        rows: Rows in one forward pass.
        length: Tokens of the longest row.
        lora_r: Rank of the adapter.
        target_modules: Names of layers, or only ``all-linear``.
        checkpointing: True if only the layers' inputs are kept, and the backward pass recomputes the rest.
        dropout: True if the adapter's inputs have dropout.
        full: True if all weights are trained, without an adapter.
        small_states: True if the optimizer's states take one byte a number instead of four.
    """

    rows: int
    length: int
    lora_r: int
    target_modules: tuple[str, ...] = ("all-linear",)
    checkpointing: bool = False
    dropout: bool = True
    full: bool = False
    small_states: bool = False


def read_config(config: Mapping[str, Any]) -> Shape | None:
    """Return the shape in a config.json; None for other architectures.

    Source:
        transformers: ``Qwen2Config``, ``Qwen3Config``, ``Qwen2MoeConfig``, ``LlamaConfig``. Qwen2 has biases on
        queries, keys and values whatever its configuration says; Qwen3 normalizes heads.
    """
    kind = str(config.get("model_type", ""))
    if kind not in ("llama", "mistral", "qwen2", "qwen2_moe", "qwen3"):
        return None
    try:
        heads = int(config["num_attention_heads"])
        experts = int(config["num_experts"]) if kind == "qwen2_moe" else 0
        return Shape(
            hidden_size=int(config["hidden_size"]),
            num_hidden_layers=int(config["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
            intermediate_size=int(config["shared_expert_intermediate_size" if experts else "intermediate_size"]),
            vocab_size=int(config["vocab_size"]),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            attention_bias=kind.startswith("qwen2") or bool(config.get("attention_bias", False)),
            head_norms=kind == "qwen3",
            num_experts=experts,
            num_experts_per_tok=int(config["num_experts_per_tok"]) if experts else 0,
            moe_intermediate_size=int(config["moe_intermediate_size"]) if experts else 0,
        )
    except (KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError):
        return None


def guess(params: int) -> Shape:
    """Return a shape of about ``params`` parameters, for a model of which no more is known.

    It follows the families of the presets: width about 128 times the depth up to 5,120, the feed-forward part 3.5 times
    the width, a fourth of the heads for keys, 150,000 tokens. The memory computed from it is right within a factor of
    about two.
    """
    width = 128
    while width < 5120 and 13 * width * width * (width // 128) + 150_000 * width < params:
        width += 128
    layers = max(1, round((params - 150_000 * width) / (13 * width * width)))
    heads = width // 128
    return Shape(width, layers, heads, max(1, heads // 4), 128, width * 7 // 2, 150_000)


def linears(shape: Shape) -> dict[str, tuple[int, int]]:
    """Return the linear layers of one block that can have an adapter, without experts: name -> inputs, outputs.

    Source:
        peft's ``all-linear``: every linear layer except the output. Experts are one tensor, not a linear layer.
    """
    wide, middle = shape.hidden_size, shape.intermediate_size
    layers = {
        "q_proj": (wide, shape.queries),
        "k_proj": (wide, shape.keys),
        "v_proj": (wide, shape.keys),
        "o_proj": (shape.queries, wide),
        "gate_proj": (wide, middle),
        "up_proj": (wide, middle),
        "down_proj": (middle, wide),
    }
    if shape.num_experts:
        layers["shared_expert_gate"] = (wide, 1)
    return layers


def parameters(shape: Shape, *, active: bool = False) -> int:
    """Return the number of weights; ``active`` counts those that one token passes through. A tied embedding is one."""
    experts = shape.num_experts_per_tok if active else shape.num_experts
    layer = sum(inputs * outputs for inputs, outputs in linears(shape).values()) + 2 * shape.hidden_size
    layer += shape.attention_bias * (shape.queries + 2 * shape.keys) + shape.head_norms * 2 * shape.head_dim
    layer += experts * 3 * shape.hidden_size * shape.moe_intermediate_size + shape.num_experts * shape.hidden_size
    tables = (1 if shape.tie_word_embeddings else 2) * shape.vocab_size * shape.hidden_size
    return shape.num_hidden_layers * layer + tables + shape.hidden_size


def targeted(shape: Shape, target_modules: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the linear layers of one block that get an adapter."""
    wanted = set(target_modules)
    return {name: size for name, size in linears(shape).items() if "all-linear" in wanted or name in wanted}


def adapter_parameters(shape: Shape, lora_r: int, target_modules: Iterable[str] = ("all-linear",)) -> int:
    """Return the number of an adapter's weights: rank times inputs plus outputs of its layers (arXiv 2106.09685)."""
    sizes = targeted(shape, target_modules).values()
    return shape.num_hidden_layers * lora_r * sum(inputs + outputs for inputs, outputs in sizes)


def kept_bytes(shape: Shape, training: Training, number: int) -> int:
    """Return the bytes of one token in one layer that are kept for the backward pass.

    A frozen base's linear layers keep nothing. The kept tensors, in the model's dtype unless stated otherwise, are the
    inputs of both norms in float32; queries, keys, values and the output of attention; gate, its activation and up.
    With an adapter, each of its layers adds the input after dropout in float32, the dropout mask of a byte a number,
    and the output of the first of its two matrices. With all weights trained, each layer adds its input and each norm
    its normalized values, and all is in float32.

    Args:
        shape: The model's shape.
        training: The settings.
        number: Bytes of a number in the model's dtype; ignored if all weights are trained, which is in float32.

    Source:
        The method of arXiv 2205.05198, section 4.1, applied to a frozen Llama block with LoRA.
    """
    number = FLOAT if training.full else number
    norms = 2 * FLOAT * (shape.hidden_size + 1) + shape.head_norms * FLOAT * (shape.queries + shape.keys)
    attention = number * 2 * (shape.queries + shape.keys) + FLOAT * shape.num_attention_heads
    forward = number * 3 * shape.intermediate_size
    routed = shape.num_experts_per_tok * number * (3 * shape.moe_intermediate_size + 2 * shape.hidden_size)
    if training.full:
        routed += FLOAT * shape.num_experts_per_tok * shape.moe_intermediate_size
        normed = 4 * shape.hidden_size + shape.head_norms * (shape.queries + shape.keys)
        return norms + attention + forward + routed + FLOAT * (normed + shape.intermediate_size)
    on = targeted(shape, training.target_modules).values()
    adapter = sum((FLOAT + training.dropout) * inputs + FLOAT * training.lora_r for inputs, _ in on)
    return norms + attention + forward + routed + adapter


def passing_bytes(shape: Shape, number: int) -> int:
    """Return the bytes of one token that a layer needs temporarily: its widest step, and the values that bypass it.

    One copy is in float32: a norm's values, or an adapter's input.
    """
    widest = max(3 * shape.intermediate_size, 2 * (shape.queries + shape.keys))
    routed = shape.num_experts_per_tok * 3 * shape.moe_intermediate_size
    return number * (widest + routed + 2 * shape.hidden_size) + FLOAT * max(shape.hidden_size, shape.intermediate_size)


def training_bytes(shape: Shape, weights: int, training: Training, number: int) -> int:
    """Return the peak memory of tensors in training.

    It is the sum of the base's weights; for each trained parameter its weight, gradient and two states of AdamW, and
    one more number during a step; the kept bytes of each token in each layer, or with checkpointing each layer's input
    and one layer in full; one layer's gradients; and the logits of the answers, with their logarithms and gradients in
    float32.

    Args:
        shape: The model's shape.
        weights: Bytes of the base's weights; ignored if all are trained, and then counted as float32.
        training: The settings.
        number: Bytes of a number in the model's dtype.
    """
    tokens = training.rows * training.length
    trained = adapter_parameters(shape, training.lora_r, training.target_modules)
    if training.full:
        trained, weights, number = parameters(shape), 0, FLOAT
    states = trained * (3 * FLOAT + 2 * (1 if training.small_states else FLOAT))
    kept = kept_bytes(shape, training, number)
    layers = shape.num_hidden_layers
    activations = layers * number * shape.hidden_size + kept if training.checkpointing else layers * kept
    passing = FLOAT * (3 * shape.intermediate_size + 2 * shape.hidden_size)
    logits = training.rows * ANSWER_TOKENS * shape.vocab_size * (2 * number + 3 * FLOAT)
    return weights + states + tokens * (activations + passing) + logits


def scoring_bytes(shape: Shape, weights: int, length: int, tokens: int, number: int) -> int:
    """Return the peak memory of tensors in scoring.

    It is the sum of the weights, one layer's temporary values for a batch, and the logits of the options, in float32
    and in the model's dtype.

    Args:
        shape: The model's shape.
        weights: Bytes of the weights.
        length: Tokens of the longest prompt.
        tokens: Tokens of one batch, including its padding.
        number: Bytes of a number in the model's dtype.
    """
    rows = max(1, tokens // min(length, SHORTEST_PROMPT))
    logits = rows * OPTION_TOKENS * shape.vocab_size * (FLOAT + (number if number != FLOAT else 0))
    return weights + max(tokens, length) * passing_bytes(shape, number) + logits


def weight_bytes(params: int, number: float) -> int:
    """Return the bytes of weights of ``number`` bytes, half a byte for 4 bits; quantized models take an eighth more."""
    return int(params * number * (1.125 if number < 2 else 1))
