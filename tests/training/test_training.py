"""Training as a function: however a step is computed, on one process or resumed, what is learned is the same."""

import os
import subprocess
import sys

import pytest

from chatladder.io.console import DataError
from chatladder.models.batches import SHORTEST, shared_length
from chatladder.models.encoding import Encoded, Example
from chatladder.training import trainer
from chatladder.training.adapters import trainable, wrap
from chatladder.training.checkpoints import Checkpoints
from chatladder.training.settings import TrainSettings
from chatladder.training.trainer import RISE, STEPS, Watch, even_out, fit, make_optimizer, split_rows

#: What every prompt begins with.
SHARED = list(range(10, 10 + 2 * SHORTEST))
OPTIONS = [[3, 4], [5, 4], [6, 4]]


def settings(**changes):
    given = {
        "learning_rate": 0.01,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 1,
        "weight_decay": 0.0,
        "lora_r": 4,
        "lora_alpha": 8.0,
        "lora_dropout": 0.0,
        "target_modules": ("all-linear",),
        "max_length": 256,
        "seeds": (0,),
    }
    return TrainSettings(**{**given, **changes})


def rows(count=10, shared=SHARED):
    """Rows that begin alike and end in an answer that their first own token tells."""
    right = [number % 3 for number in range(count)]
    prompts = [[*shared, 7 + place, *range(40, 44 + number % 5)] for number, place in enumerate(right)]
    examples = [Example(prompt, [*OPTIONS[place], 2], 0) for prompt, place in zip(prompts, right, strict=True)]
    return Encoded(examples, [OPTIONS] * count, right, 0)


def model(kind="Llama", **changes):
    import torch
    import transformers

    torch.manual_seed(0)
    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = getattr(transformers, f"{kind}Config")(**shape, **heads, **changes)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def learned(changes=None, data=None, **arguments):
    """What a run learns: trained weights by name, and what was logged."""
    chosen = settings(**(changes or {}))
    tuned = trainable(arguments.pop("base", None) or model(), chosen, "tiny")
    logged = {}
    log = arguments.pop("log", lambda name, step, value: logged.__setitem__((name, step), value))
    validation = arguments.pop("validation", Encoded([], [], [], 0))
    fit(tuned, 0, data or rows(), validation, chosen, log, **arguments)
    return {name: weight.detach().clone() for name, weight in tuned.named_parameters() if weight.requires_grad}, logged


def assert_alike(one, other, tolerance):
    assert one[0].keys() == other[0].keys()
    for name, weight in one[0].items():
        assert (weight - other[0][name]).abs().max() < tolerance, name
    assert one[1] == pytest.approx(other[1], abs=tolerance)


@pytest.fixture(scope="module")
def plainly():
    """The run that all others are held against: whole rows, whole batches."""
    return learned(data=rows(shared=SHARED))


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens_per_forward": 64},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "tokens_per_forward": 80},
    ],
    ids=str,
)
def test_how_a_step_is_computed_changes_nothing_that_is_learned(plainly, changes):
    assert_alike(learned(changes), plainly, 1e-4)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
def test_what_rows_share_is_read_once_and_teaches_the_same(kind, monkeypatch):
    once = learned(base=model(kind))
    monkeypatch.setattr("chatladder.training.trainer.shared_length", lambda *_: 0)
    assert_alike(once, learned(base=model(kind)), 1e-4)


def test_shared_tokens_pass_through_the_model_once_a_step(monkeypatch):
    seen = []
    made = trainer.Prefix

    def watched(model, tokens, **options):
        seen.append(list(tokens))
        return made(model, tokens, **options)

    monkeypatch.setattr(trainer, "Prefix", watched)
    _, logged = learned({"tokens_per_forward": 64})
    assert len(seen) == len({step for _, step in logged})
    assert all(tokens[: len(SHARED)] == SHARED for tokens in seen)


def test_a_short_beginning_or_another_architecture_is_read_with_each_row():
    tiny = model()
    prompts = [row.prompt for row in rows().examples]
    assert shared_length(tiny, prompts) == len(SHARED)
    assert shared_length(tiny, [prompt[len(SHARED) - SHORTEST + 1 :] for prompt in prompts]) == 0
    assert shared_length(tiny, prompts[:1]) == 0
    assert shared_length(tiny, [prompts[0], prompts[0][: len(SHARED)]]) == len(SHARED) - 1
    tiny.config.model_type = "gemma3_text"
    assert shared_length(tiny, prompts) == 0


def test_rows_are_split_by_number_and_by_tokens():
    examples = rows(7).examples
    assert [len(part) for part in split_rows(examples, 3, 10_000, 0)] == [3, 3, 1]
    # 32 shared tokens, and at most 11 of its own with two of the answer, a row.
    assert [len(part) for part in split_rows(examples, 7, len(SHARED) + 22, len(SHARED))] == [2, 2, 2, 1]
    assert [len(part) for part in split_rows(examples, 7, 1, 0)] == [1] * 7


def test_processes_in_step_get_as_many_parts_each():
    examples = rows(5).examples
    parts = even_out([examples[:4], examples[4:]], 5, examples[0])
    assert sum(len(part) for part in parts) == 5
    assert len(parts) == 5
    more = even_out([examples[:1]], 3, examples[0])
    assert [part[0].answer for part in more[1:]] == [[-100]] * 2


def test_the_deciding_token_may_count_more():
    _, plain = learned()
    _, weighted = learned({"deciding_weight": 4.0})
    assert weighted["train/loss", 1] == pytest.approx(plain["train/loss", 1])
    last = max(step for _, step in plain)
    assert weighted["train/deciding_loss", last] < plain["train/deciding_loss", last]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("stopped", [1, 3, 4])
def test_a_resumed_run_ends_in_the_same_weights(tmp_path, method, stopped):
    """Stopped after the first step, at an epoch's end, and one step later; dropout goes on where it was."""
    import torch

    changes = {"method": method, "lora_dropout": 0.3}
    validation = rows(4)
    whole = learned(changes, validation=validation)
    seen = {}

    def log(name, step, value):
        if name == "train/loss" and step == stopped + 1 and (name, step) not in seen:
            raise KeyboardInterrupt
        seen[name, step] = value

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        learned(changes, validation=validation, log=log, kept=Checkpoints(path, 0))
    assert path.is_file()
    resumed = learned(changes, validation=validation, kept=Checkpoints(path, 0))
    assert resumed[1] == whole[1]
    for name, weight in whole[0].items():
        assert torch.equal(weight, resumed[0][name]), name


def test_a_damaged_checkpoint_is_no_obstacle(tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"half a file")
    whole, again = learned(), learned(kept=Checkpoints(path, 0))
    assert whole[1] == again[1]


def test_early_stopping_keeps_the_weights_of_the_best_epoch():
    changes = {"num_train_epochs": 8, "learning_rate": 0.1, "early_stopping_patience": 2}
    validation = rows(6)
    # The validation rows say the opposite of what is learned, so the first epochs are the best.
    wrong = [(place + 1) % 3 for place in validation.right]
    examples = [
        row._replace(answer=[*OPTIONS[place], 2]) for row, place in zip(validation.examples, wrong, strict=True)
    ]
    opposite = Encoded(examples, validation.options, wrong, 0)
    weights, logged = learned(changes, validation=opposite)
    losses = [value for (name, _), value in sorted(logged.items()) if name == "validation/deciding_loss"]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2 < 8
    until, _ = learned({**changes, "early_stopping_patience": 8}, validation=opposite)
    assert all((weights[name] == until[name]).all() for name in weights)


def test_early_stopping_without_validation_rows_is_refused():
    with pytest.raises(DataError, match="early_stopping_patience: expected validation rows"):
        learned({"early_stopping_patience": 1})


def test_lora_plus_teaches_the_second_matrices_faster():
    chosen = settings(loraplus_lr_ratio=16.0, weight_decay=0.01)
    tuned = wrap(model(), chosen, "tiny")
    rates = {id(w): group["lr"] for group in make_optimizer(tuned, chosen).param_groups for w in group["params"]}
    for name, weight in tuned.named_parameters():
        if weight.requires_grad:
            assert rates[id(weight)] == pytest.approx(0.16 if "lora_B" in name else 0.01)


def test_lora_plus_needs_an_adapter():
    with pytest.raises(DataError, match="loraplus_lr_ratio: expected 0 with method: full"):
        make_optimizer(model(), settings(loraplus_lr_ratio=16.0, method="full"))


def test_an_optimizer_whose_package_is_not_there_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim", None)
    with pytest.raises(DataError, match="optim: paged_adamw_8bit needs the package bitsandbytes"):
        make_optimizer(model(), settings(optim="paged_adamw_8bit"))


@pytest.mark.parametrize("changes", [{"use_rslora": True}, {"use_dora": True}, {"loraplus_lr_ratio": 4.0}], ids=str)
def test_variants_of_lora_learn_something_else(plainly, changes):
    weights, logged = learned(changes)
    shared = plainly[0].keys() & weights.keys()
    assert any((plainly[0][name] - weights[name]).abs().max() > 1e-3 for name in shared)
    assert logged["train/loss", 6] < logged["train/loss", 1]


def test_a_loss_that_rises_far_above_the_first_ones_stops_the_run():
    watch = Watch(2.0e-4)
    for step in range(1, STEPS + 1):
        watch.see(step, 1.0)
    watch.see(STEPS + 1, 1.0 + RISE)
    for step in range(STEPS + 2, 2 * STEPS):
        watch.see(step, 1.1 + RISE)
    with pytest.raises(DataError, match=r"step 20: expected a loss near .* try learning_rate 2\.0e-05"):
        watch.see(2 * STEPS, 2.0 + RISE)


def test_a_learning_rate_far_too_high_is_noticed():
    with pytest.raises(DataError, match=r"The training diverged: try learning_rate 5\.0e-01"):
        learned({"learning_rate": 5.0, "num_train_epochs": 20, "method": "full"})


def test_dropout_drops_its_share_and_lets_the_same_gradient_through():
    import torch

    from chatladder.training.adapters import Dropout

    torch.manual_seed(0)
    ones = torch.ones(501, 333, requires_grad=True)
    out = Dropout(0.05)(ones)
    out.backward(torch.full_like(out, 2.0))
    dropped = (out == 0).float().mean().item()
    # Five standard deviations of so many draws.
    assert dropped == pytest.approx(0.05, abs=5 * (0.05 * 0.95 / out.numel()) ** 0.5)
    assert torch.equal(ones.grad, 2 * out.detach())
    assert out.max().item() == pytest.approx(1 / 0.95)
    rows_dropped, columns_dropped = (out == 0).float().mean(0), (out == 0).float().mean(1)
    assert rows_dropped.max() < 0.15
    assert columns_dropped.max() < 0.15
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.05)(ones), out)
    assert not torch.equal(Dropout(0.05)(ones), out)
    assert torch.equal(Dropout(0.05).eval()(ones), ones)
    assert torch.equal(Dropout(0.0)(ones), ones)


def test_an_adapter_drops_its_inputs_so():
    from chatladder.training.adapters import Dropout

    tuned = trainable(model(), settings(lora_dropout=0.25), "tiny")
    dropping = [module for name, module in tuned.named_modules() if ".lora_dropout." in name]
    assert dropping
    assert all(isinstance(module, Dropout) and module.p == 0.25 for module in dropping)


def test_matrix_products_add_in_one_order():
    import torch

    if not torch.backends.mkl.is_available():
        pytest.skip("this torch has other matrix products than oneMKL's")
    prepared = "from chatladder.models.devices import prepare_torch; prepare_torch()"
    asked = f"{prepared}; import torch; torch.ones(64, 64) @ torch.ones(64, 64)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MKL_")}
    said = subprocess.run(
        [sys.executable, "-c", asked],
        env={**environment, "MKL_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    products = [line for line in said.splitlines() if "GEMM" in line]
    assert products
    assert all("CNR:AUTO,STRICT" in line for line in products)
