"""The benchmark for GPUs runs here at its smallest shape, and counts what it says it counts."""

import re

import pytest
from click.testing import CliRunner

from benchmarks import chip
from chatladder.models import memory

SMALL = ["--rows", "4", "--steps", "2", "--warm-up", "1", "--lora-r", "4", "--lengths", "32", "8", "40", "3"]


def run(*arguments):
    return CliRunner().invoke(chip.main, [str(argument) for argument in arguments])


def test_variants_are_trained_and_what_rows_share_is_read_once():
    variants = ["plain", "checkpointing"]
    options = [part for variant in variants for part in ("--variant", variant)]
    result = run("--shape", "tiny", *SMALL, *options, "--peak", 1000)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if re.match(r"\| (plain|checkpointing) ", line)]
    cells = {name.strip(): rest for name, *rest in (line.strip("|").split("|") for line in lines)}
    assert list(cells) == variants
    assert len({row[-1] for row in cells.values()}) == 1  # the first loss
    read = {name: float(row[2].replace(",", "")) for name, row in cells.items()}
    speeds = {name: float(row[1].split()[0].replace(",", "")) for name, row in cells.items()}
    assert read["plain"] < 0.75 * speeds["plain"]
    # Without a cache, rows side by side are read whole; all but the answer's last token goes through the model.
    assert 0.95 * speeds["checkpointing"] < read["checkpointing"] < speeds["checkpointing"]
    assert "nothing about speed" in result.output


def test_memory_that_runs_out_is_said_and_the_others_go_on(monkeypatch):
    import torch

    trained = chip.train_once

    def train(runs, *given, **named):
        if runs.variant == "TF32":
            raise torch.OutOfMemoryError("no memory")
        trained(runs, *given, **named)

    monkeypatch.setattr(chip, "train_once", train)
    result = run("--shape", "tiny", *SMALL, "--variant", "TF32", "--variant", "plain")
    assert result.exit_code == 0, result.output
    assert result.output.count("out of memory") == 1
    assert re.search(r"\| plain \| [\d,]+ \| [\d,]+ \(", result.output)


def test_a_real_shape_without_a_gpu_is_refused():
    result = run("--shape", "qwen2_7b")
    assert result.exit_code == 2
    assert "--shape: expected tiny where there is no GPU, got qwen2_7b" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", 2, "--warm-up", 2], "--warm-up: expected less than the 2 --steps, got 2"),
        (["--lengths", 32, 40, 8, 3], "--lengths: expected a shortest part below the longest"),
    ],
)
def test_options_that_cannot_go_together_are_refused(options, message):
    result = run("--shape", "tiny", *options)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", None),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("no GPU", None),
    ],
)
def test_peaks_are_those_of_the_very_chip(name, peak):
    assert chip.peak_of(name) == peak


def test_operations_by_hand():
    shape = memory.Shape(8, 2, 2, 1, 4, 16, 100)
    block = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16
    adapter = 2 * 4 * ((8 + 8) * 2 + (8 + 4) * 2 + 3 * (8 + 16))
    assert chip.operations(shape, 4, 1, 0) == 4 * 2 * block + 6 * adapter
    assert chip.operations(shape, 4, 0, 1) == 4 * 8 * 100


def test_rows_begin_alike_and_have_the_lengths_asked_for():
    rows = chip.make_rows(20, 512, (16, 4, 9, 3), 0)
    assert len({tuple(row.prompt[:16]) for row in rows}) == 1
    assert {len(row.prompt) - 16 for row in rows} <= set(range(4, 10))
    assert {len(row.answer) for row in rows} == {3}
    assert rows == chip.make_rows(20, 512, (16, 4, 9, 3), 0) != chip.make_rows(20, 512, (16, 4, 9, 3), 1)
