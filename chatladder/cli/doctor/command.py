r"""Say what each rung needs and whether this machine has it, before anything is downloaded or run.

Example:
    chatladder doctor
    chatladder doctor --hub --json

Memory is what tensors take at the settings of params.yaml and at the longest prompt that can come, counted from the
shape of each model (``chatladder/models/memory.py``); a guess, because the model's shape is unknown, has a ≈.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chatladder.cli.doctor.memory import (
    Machine,
    MemoryNeed,
    facts_of,
    longest_prompt,
    needs,
    show_bytes,
    show_count,
    sized,
    this_machine,
)
from chatladder.cli.doctor.setup import problems
from chatladder.io.console import SETTINGS, DataError, example, shortened
from chatladder.io.params import PARAMS, read_yaml
from chatladder.models.devices import DTYPE
from chatladder.presets import ladder_of, model_info

COLUMNS = ("rung", "source", "params", "active", "disk", "score", "train", "GPUs", "runs")
#: Columns of a terminal, and what the columns after the first take of them.
WIDTH = 80
_WIDTHS = (8, 7, 6, 6, 7, 7, 4, 4)


def ask_hub(ladder: Mapping[str, Any], facts: dict[str, MemoryNeed]) -> list[str]:
    """Have the hub confirm the commit of each of its rungs and give unknown sizes; return the problems."""
    troubles = []
    for key, known in facts.items():
        if known.source == "hub" and not known.reasons:
            base = ladder[key]["base"]
            try:
                info = model_info(str(base["repo"]), str(base["revision"]))
                facts[key] = sized(known, info.safetensors.total if info.safetensors else None)
            except DataError as error:
                troubles.append(f"{key}: {error.message}")
                if known.disk:  # what is in the cache already runs without the hub
                    facts[key] = known._replace(reasons=("the hub does not give it",))
    return troubles


def table(rows: Mapping[str, MemoryNeed]) -> list[str]:
    """Return one line a rung, below a line of headings; 80 columns wide at most."""
    widest = WIDTH - sum(_WIDTHS) - len(_WIDTHS)
    width = max(len(COLUMNS[0]), *(min(len(key), widest) for key in rows))
    return [
        " ".join(
            [
                f"{shortened(key, width):<{width}}",
                f"{source:<{_WIDTHS[0]}}",
                *(f"{cell:>{room}}" for cell, room in zip(cells, _WIDTHS[1:], strict=True)),
            ]
        ).rstrip()
        for key, source, *cells in (COLUMNS, *((key, *_row(each)) for key, each in rows.items()))
    ]


def _row(each: MemoryNeed) -> tuple[str, ...]:
    about = "" if each.exact else "≈"
    disk, scoring, training = (
        f"{about}{show_bytes(size)}" if size is not None else "?"
        for size in (each.disk if each.params else None, each.scoring, each.training)
    )
    params = f"{about}{show_count(each.params)}" if each.params else "?"
    active = show_count(each.active_params) if each.active_params else ""
    gpus = "?" if each.gpus is None else str(each.gpus or "-")
    runs = "?" if each.runs is None else "yes" if each.runs else "no"
    return each.source[: _WIDTHS[0]], params, active, disk, scoring, training, gpus, runs


def machine_lines(machine: Machine, length: int) -> list[str]:
    """Say what the machine has, and what the table counts."""
    has, counted = "No GPU", "80 GB GPUs, in bfloat16"
    if machine.gpus:
        cards = zip(machine.gpu_names, machine.gpus, strict=True)
        has = f"GPUs: {', '.join(f'{name} {show_bytes(free)}' for name, free in cards)} free"
        counted = "GPUs of the largest free memory here"
    return [
        f"Memory: {show_bytes(machine.memory)} free. Disk: {show_bytes(machine.disk)} free. {has}.",
        f"Numbers: {machine.dtype}, {_why(machine)}.",
        f"disk: still to download or write. score, train: memory at prompts of {length:,} tokens.",
        f"GPUs: {counted}.",
    ]


def _why(machine: Machine) -> str:
    """Say why models compute in these numbers, and which do not."""
    device = "GPU" if machine.gpus else "CPU"
    if os.environ.get(DTYPE):
        why = f"as {DTYPE} says"
    elif machine.dtype == "bfloat16":
        why = f"which this {device} multiplies itself"
    else:
        why = f"because this {device} does not multiply bfloat16 itself"
    return why if machine.dtype == "float32" else f"{why}; embedded models float32"


@click.command(
    name="doctor",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.option("--hub", is_flag=True, help="Ask the hub whether it has each model at its commit.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON, sizes in bytes.")
@click.pass_context
def doctor_command(context: click.Context, hub: bool, wants_json: bool) -> None:
    """Say what each rung of params.yaml needs, whether this machine has it, and what is wrong with the setup.

    Exits with 1 if a rung cannot run here.
    """
    params = read_yaml(PARAMS)
    ladder = ladder_of(params, str(PARAMS))
    machine = this_machine()
    length = longest_prompt(Path("data/alpaca"), int(params.get("max_length") or 1400))
    facts = {key: facts_of(key, rung["base"], Path("data/bases")) for key, rung in ladder.items()}
    troubles = ask_hub(ladder, facts) if hub else []
    rows = needs(ladder, facts, params.get("train") or {}, length, machine)
    troubles += problems(Path(), len(machine.gpus))
    if wants_json:
        about = {**asdict(machine), "cache": str(machine.cache)}
        rungs = [{"rung": key, **each.as_json()} for key, each in rows.items()]
        document = {"machine": about, "prompt_tokens": length, "rungs": rungs, "problems": troubles}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        lines = [*table(rows), "", *machine_lines(machine, length)]
        lines += [f"{key}: {'; '.join(each.reasons)}." for key, each in rows.items() if each.reasons]
        lines += ["", "To see to:", *(f"- {problem}" for problem in troubles)] if troubles else ["", "Nothing amiss."]
        click.echo("\n".join(lines))
    if any(each.runs is False for each in rows.values()):
        context.exit(1)


if __name__ == "__main__":
    doctor_command()
