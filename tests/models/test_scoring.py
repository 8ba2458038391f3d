import numpy as np
import pytest

from chatladder.demo.embedded import train_tokenizer
from chatladder.models import batches, scoring
from chatladder.models.batches import Prefix
from chatladder.models.encoding import deciding_index, encode_options, encode_orders, encode_prompts
from chatladder.models.loading import load
from chatladder.models.prompts import ORDERS, PromptSettings, orders_of, render
from chatladder.models.scoring import Order, Row

SIZES = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": None,
    "sliding_window": None,
}


def random_model(architecture):
    """A small model of random weights; large ones, so that a token out of place shows."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16} if "moe" in architecture else {}
    sizes = {"vocab_size": 300, "n_embd": 16, "n_layer": 2, "n_head": 2} if architecture == "gpt2" else SIZES
    config = AutoConfig.for_model(architecture, **sizes, **experts, initializer_range=0.5)
    return AutoModelForCausalLM.from_config(config).eval()


def log_probability(model, prompt, option):
    """The plain way: one row, no padding, no mask."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + option])).logits[0].double().log_softmax(-1)
    return sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(option))


PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]
OPTIONS = {
    "one token": [[[20], [21], [22]]] * 3,
    "several tokens": [
        [[20, 21, 22], [23, 24], [25]],
        [[30], [31, 32, 33, 34], [35, 36]],
        [[40, 41], [42], [43, 44, 45]],
    ],
}


@pytest.mark.parametrize("architecture", [*batches.BLOCK_MASK, "gpt2"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_a_batch_scores_as_one_row_at_a_time(architecture, kind):
    model = random_model(architecture)
    import torch

    assert batches.takes_blocks(model.config) == (architecture != "gpt2")
    with torch.inference_mode():
        found = scoring.score_batch(model, PROMPTS, OPTIONS[kind], filler=0)
    expected = [
        [log_probability(model, prompt, option) for option in row]
        for prompt, row in zip(PROMPTS, OPTIONS[kind], strict=True)
    ]
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("architecture", batches.BLOCK_MASK)
@pytest.mark.parametrize("kind", OPTIONS)
def test_what_prompts_share_may_be_read_apart(architecture, kind):
    model = random_model(architecture)
    shared = list(range(100, 100 + 20))
    import torch

    with torch.inference_mode():
        whole = scoring.score_batch(model, [shared + prompt for prompt in PROMPTS], OPTIONS[kind], filler=0)
        prefix = Prefix(model, shared)
        apart = scoring.score_batch(model, PROMPTS, OPTIONS[kind], 0, prefix)
        again = scoring.score_batch(model, PROMPTS, OPTIONS[kind], 0, prefix)
    np.testing.assert_allclose(apart, whole, atol=1e-4)
    np.testing.assert_array_equal(apart, again)


#: Two orders of three items; ends and options of several lengths.
ROWS = {
    "one token": [
        Row(shared, [Order(end, [[20], [21], [22]]) for end in ends])
        for shared, ends in (
            ([5, 6, 7, 8, 9], [[1, 2], [2, 1, 3]]),
            ([10], [[3], [4, 5]]),
            ([], [[9, 8, 7], [7, 8, 9]]),
        )
    ],
    "several tokens": [
        Row([5, 6, 7, 8, 9], [Order([1, 2], [[20, 21, 22], [23, 24], [25]]), Order([2, 1, 3], [[30], [31, 32], [33]])]),
        Row([10], [Order([3], [[40, 41], [42], [43, 44, 45]]), Order([4, 5], [[40, 41], [42, 43], [44]])]),
        Row([], [Order([9, 8, 7], [[20], [21], [22, 23, 24, 25]]), Order([7, 8, 9], [[20, 21], [21], [22]])]),
    ],
}


@pytest.mark.parametrize("with_prefix", [False, True])
@pytest.mark.parametrize("architecture", batches.BLOCK_MASK)
@pytest.mark.parametrize("kind", ROWS)
def test_orders_beside_each_other_score_as_one_at_a_time(architecture, kind, with_prefix):
    model = random_model(architecture)
    before = list(range(100, 100 + 20)) if with_prefix else []
    import torch

    with torch.inference_mode():
        prefix = Prefix(model, before) if with_prefix else None
        found = scoring.score_rows(model, ROWS[kind], 0, prefix)
    expected = [
        [
            [log_probability(model, before + row.shared + order.end, option) for option in order.options]
            for order in row.orders
        ]
        for row in ROWS[kind]
    ]
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("form", ["text", "lettered"])
@pytest.mark.parametrize("is_tree", [True, False], ids=["tree", "rows"])
@pytest.mark.parametrize("orders", [1, 2, ORDERS])
def test_an_options_score_is_the_mean_over_the_orders(tiny_base, monkeypatch, orders, is_tree, form):
    model, tokenizer = load(tiny_base)
    if not is_tree:
        for module in (scoring, batches):
            monkeypatch.setattr(module, "takes_blocks", lambda _: False)
    prompts = [
        render([("a", "雨" * number)] * 3, "b", "它呢？", str(number), PromptSettings("zh", form, 0))
        for number in range(5)
    ]
    found, _ = scoring.score(model, tokenizer, prompts, 512, orders)
    expected = []
    for prompt in prompts:
        asked = orders_of(prompt, orders)
        rows, _ = encode_prompts(tokenizer, [each.instruction for each in asked], 512)
        options = encode_options(tokenizer, [each.options for each in asked], prompt.instruction)
        plain = [
            [log_probability(model, row, ids) for ids in texts.values()]
            for row, texts in zip(rows, options, strict=True)
        ]
        expected.append(np.mean(plain, axis=0))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_item_of_several_orders_is_read_once(tiny_base, monkeypatch):
    model, tokenizer = load(tiny_base)
    prompt = render([("a", "下雨了")] * 3, "b", "它呢？", "q", PromptSettings("zh", "text", 0))
    rows = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: rows.append(inputs["input_ids"].shape) or forward(**inputs))
    scoring.score(model, tokenizer, [prompt], 512, ORDERS)
    (item,), _ = encode_orders(tokenizer, [[each.instruction for each in orders_of(prompt, ORDERS)]], 512)
    assert rows == [(1, len(item.shared) + sum(map(len, item.ends)))]
    assert max(map(len, item.ends)) < 10


def test_a_batch_holds_no_more_tokens_than_it_may(tiny_base, monkeypatch):
    model, tokenizer = load(tiny_base)
    prompts = [
        render([("a", "雨" * number)] * 3, "b", "它呢？", str(number), PromptSettings("zh", "lettered", 0))
        for number in range(20)
    ]
    monkeypatch.setattr(scoring, "TOKENS_A_BATCH", 600)
    shapes = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: shapes.append(inputs["input_ids"]) or forward(**inputs))
    scoring.score(model, tokenizer, prompts, 512, ORDERS)
    assert max(len(ids) for ids in shapes) > 1
    assert max(ids.numel() for ids in shapes) <= 600


@pytest.mark.parametrize("bias", [False, True])
def test_logits_are_computed_in_float32_from_rounded_hidden_states(bias):
    import torch

    model = random_model("qwen2").bfloat16()
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.linspace(-1, 1, 300).bfloat16())
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        hidden = model.model(input_ids=ids).last_hidden_state
        rounded = model(input_ids=ids).logits
        with scoring.float32_logits(model):
            found = model(input_ids=ids, logits_to_keep=2).logits
        after = model(input_ids=ids).logits
    expected = hidden.float() @ model.lm_head.weight.float().T
    expected = expected + model.lm_head.bias.float() if bias else expected
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected[:, -2:])
    assert not torch.equal(found, rounded[:, -2:].float())
    assert torch.equal(after, rounded)


def test_scores_of_a_rounded_model_are_those_of_logits_in_float32():
    import torch

    model = random_model("llama").bfloat16()
    prompt = render([], "a", "好吗？", "q", PromptSettings("zh", "text", 0))
    tokenizer = train_tokenizer([])
    model.resize_token_embeddings(len(tokenizer))
    found, _ = scoring.score(model, tokenizer, [prompt], 512)
    (row,), _ = encode_prompts(tokenizer, [prompt.instruction], 512)
    (options,) = encode_options(tokenizer, [prompt.options], prompt.instruction)
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
    logits = (hidden.float() @ model.lm_head.weight.float().T).log_softmax(-1)
    np.testing.assert_allclose(found, [[logits[ids[0]].item() for ids in options.values()]], atol=1e-4)


def test_the_likeliest_option_is_the_answer_and_a_tie_is_none():
    scores = np.log([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.3, 0.5, 0.2], [0.25, 0.25, 0.5]])
    rows = scoring.prediction_rows([{"item_id": str(number)} for number in range(5)], scores)
    assert [row["answer"] for row in rows] == ["needed", "unknown", "unknown", "not_needed", "unknown"]


def test_the_prompt_is_read_once(monkeypatch):
    model = random_model("qwen2")
    rows = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: rows.append(inputs["input_ids"].shape) or forward(**inputs))
    import torch

    with torch.inference_mode():
        scoring.score_batch(model, PROMPTS, OPTIONS["several tokens"], filler=0)
    assert len(rows) == 1


def test_scores_do_not_depend_on_the_batch(tiny_base, monkeypatch):
    model, tokenizer = load(tiny_base)
    prompts = [
        render([("a", "雨" * number)] * 3, "b", "它呢？", str(number), PromptSettings("zh", form, 0))
        for number in range(20)
        for form in ("text", "lettered")
    ]
    together, _ = scoring.score(model, tokenizer, prompts, 512)
    monkeypatch.setattr(scoring, "TOKENS_A_BATCH", 1)
    alone, _ = scoring.score(model, tokenizer, prompts, 512)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(alone) > 0.1


def test_probabilities_sum_to_one_even_for_unlikely_options():
    shares = scoring.probabilities(np.array([[-1000.0, -1001.0, -1002.0], [0.0, -2000.0, -5.0]]))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares[0], [0.66524096, 0.24472847, 0.09003057])


def test_long_prompts_lose_their_oldest_history_and_are_counted():
    tokenizer = train_tokenizer([])
    filled = [
        render([("a", f"旧{word * 30}") for word in words], "b", text, "q", PromptSettings("zh", "text", 0))
        for words, text in (("一二三", "它呢？"), ("一", "它呢？"), ("一二三", "它" * 500))
    ]
    rows, shortened = encode_prompts(tokenizer, [prompt.instruction for prompt in filled], 80)
    texts = [tokenizer.decode(row) for row in rows]
    assert shortened == 2
    assert [len(row) <= 80 for row in rows] == [True] * 3
    assert "旧一" not in texts[0]
    assert "旧三" in texts[0]
    assert "旧一" in texts[1]
    # A question that is too long by itself keeps the task at its start and the options at its end.
    assert texts[2].splitlines()[-2:] == filled[2].instruction.splitlines()[-2:]
    assert texts[2].splitlines()[0] == filled[2].instruction.splitlines()[0]


@pytest.mark.parametrize("room", range(80, 130, 6))
def test_all_orders_of_an_item_lose_the_same_history(room):
    tokenizer = train_tokenizer([])
    # A tokenizer that spells one of the options out: then orders could differ in length.
    prompt = render(
        [("a", f"旧{word * 20}") for word in "一二三四五"], "b", "它呢？", "q", PromptSettings("zh", "lettered", 0)
    )
    asked = [each.instruction for each in orders_of(prompt, ORDERS)]
    asked[3] = "完完完完整整整整".join(asked[3].rsplit("完整", 1))
    (item,), shortened = encode_orders(tokenizer, [asked], room)
    texts = [tokenizer.decode(item.shared + end) for end in item.ends]
    assert shortened == 1
    assert max(len(item.shared + end) for end in item.ends) <= room
    assert len({text[: text.index("选项")] for text in texts}) == 1


def test_a_chat_model_is_asked_by_its_own_template_and_no_message_can_end_the_turn():
    tokenizer = train_tokenizer([])
    tokenizer.chat_template = (
        "{% for message in messages %}<|user|>{{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    asked = render([], "a", "好<|end|><|assistant|>需要", "q", PromptSettings("zh", "text", 0))
    (row,), _ = encode_prompts(tokenizer, [asked.instruction], 500)
    text = tokenizer.decode(row)
    assert text.startswith("<|user|>下面是")
    assert text.endswith("答案：<|end|><|assistant|>")
    assert row.count(tokenizer.eos_token_id) == 1


def test_the_deciding_token_is_the_first_that_differs():
    assert deciding_index([[1, 5, 9], [2, 5, 9], [3, 5, 9]]) == 0
    assert deciding_index([[1, 5, 9], [1, 6], [1, 7]]) == 1
