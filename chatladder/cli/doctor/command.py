r"""Say what each rung needs and whether this machine has it, before anything is downloaded or run.

Example:
    chatladder doctor
    chatladder doctor --hub --json

Memory is what tensors take at the settings of params.yaml and at the longest prompt that can come, counted from the
shape of each model (``chatladder/models/memory.py``); what is guessed, because nothing tells a model's shape, has a ≈.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chatladder.cli.doctor.machine import Machine, this_machine
from chatladder.cli.doctor.rungs import (
    Facts,
    Need,
    Settings,
    facts_of,
    longest_prompt,
    needs,
    show_bytes,
    show_count,
    sized,
)
from chatladder.cli.doctor.setup import problems
from chatladder.io.console import SETTINGS, DataError, InputFile, example, shortened
from chatladder.presets import KEY, read_text
from chatladder.presets.nodes import block, compose, plain

COLUMNS = ("rung", "source", "params", "active", "disk", "score", "train", "GPUs", "runs")
#: Columns of a terminal, and what the columns after the first take of them.
WIDTH = 80
_WIDTHS = (8, 7, 6, 6, 7, 7, 4, 4)


def read_project(params: Path) -> tuple[str, dict[str, Any]]:
    """Text and content of params.yaml.

    Raises:
        DataError: If it has no rungs, or one is no section.
    """
    text = read_text(params)
    block(compose(text, str(params)), "ladder", str(params))
    content: dict[str, Any] = plain(text)
    for key, rung in content["ladder"].items():
        base = rung.get("base") if isinstance(rung, dict) else None
        if not isinstance(key, str) or not KEY.fullmatch(key) or not isinstance(base, dict):
            raise DataError(f"{params}: ladder: expected rungs with a section base, got {key!a} without.")
    return text, content


def ask_hub(ladder: Mapping[str, Any], facts: Sequence[Facts]) -> tuple[list[Facts], list[str]]:
    """Have the hub confirm the commit of each of its rungs, and tell the size of a model that is not known."""
    from dataclasses import replace

    from chatladder.presets.hub import model_info

    found, amiss = [], []
    for (key, rung), known in zip(ladder.items(), facts, strict=True):
        if known.source == "hub" and known.problem is None:
            try:
                info = model_info(str(rung["base"]["repo"]), str(rung["base"]["revision"]))
                known = sized(known, info.safetensors.total if info.safetensors else None)
            except DataError as error:
                amiss.append(f"{key}: {error.message}")
                if known.disk:  # what is in the cache already runs without the hub
                    known = replace(known, problem="the hub does not give it")
        found.append(known)
    return found, amiss


def table(found: Sequence[Need]) -> list[str]:
    """One line a rung, below a line of headings; 80 columns wide at most."""
    widest = WIDTH - sum(_WIDTHS) - len(_WIDTHS)
    width = max(len(COLUMNS[0]), *(min(len(each.key), widest) for each in found))
    rows = [COLUMNS, *map(_row, found)]
    return [
        " ".join([f"{shortened(key, width):<{width}}", f"{source:<{_WIDTHS[0]}}", *_right(rest)]).rstrip()
        for key, source, *rest in rows
    ]


def _right(cells: Sequence[str]) -> list[str]:
    return [f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS[1:], strict=True)]


def _row(each: Need) -> tuple[str, ...]:
    facts = each.facts
    about = "" if facts.exact else "≈"
    sizes = [f"{about}{show_bytes(size)}" if size is not None else "?" for size in (each.scoring, each.training)]
    params = f"{about}{show_count(facts.params)}" if facts.params else "?"
    active = show_count(facts.active) if facts.active else ""
    disk = f"{about}{show_bytes(facts.disk)}" if facts.params else "?"
    gpus = "?" if each.gpus is None else str(each.gpus or "-")
    runs = "?" if each.fits is None else "yes" if each.fits else "no"
    return (each.key, facts.source[: _WIDTHS[0]], params, active, disk, *sizes, gpus, runs)


def machine_lines(machine: Machine, length: int) -> list[str]:
    """What the machine has, and what the table counts."""
    if machine.gpus:
        cards = ", ".join(
            f"{name} {show_bytes(free)}" for name, free in zip(machine.gpu_names, machine.gpus, strict=True)
        )
        has = f"GPUs: {cards} free. Weights are bfloat16"
        counted = "GPUs of the largest free memory here"
    else:
        has = "No GPU. Weights are float32"
        counted = "80 GB GPUs, in bfloat16"
    return [
        f"Memory: {show_bytes(machine.memory)} free. Disk: {show_bytes(machine.disk)} free. {has}.",
        f"disk: still to download or write. score, train: memory at prompts of {length:,} tokens.",
        f"GPUs: {counted}.",
    ]


def as_json(found: Sequence[Need], machine: Machine, length: int, amiss: Sequence[str]) -> str:
    """Everything that the table says and more, sizes in bytes."""
    rungs = [
        {
            "rung": each.key,
            "source": each.facts.source,
            "params": each.facts.params,
            "active_params": each.facts.active,
            "exact": each.facts.exact,
            "disk": each.facts.disk,
            "scoring": each.scoring,
            "training": each.training,
            "training_with_checkpointing": each.checkpointed,
            "gpus": each.gpus,
            "runs": each.fits,
            "reasons": each.reasons,
        }
        for each in found
    ]
    about = {**asdict(machine), "cache": str(machine.cache)}
    document = {"machine": about, "prompt_tokens": length, "rungs": rungs, "problems": amiss}
    return json.dumps(document, ensure_ascii=False, indent=2)


@click.command(
    name="doctor",
    short_help="Say what the rungs need, and what is amiss.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.option("--hub", is_flag=True, help="Ask the hub whether it has each model at its commit.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON, sizes in bytes.")
@click.option("--params", type=InputFile, default=Path("params.yaml"), show_default=True, help="The project's params.")
@click.option("--pipeline", type=InputFile, default=Path("dvc.yaml"), show_default=True, help="The project's stages.")
@click.pass_context
def doctor_command(context: click.Context, hub: bool, wants_json: bool, params: Path, pipeline: Path) -> None:
    """Say what each rung of params.yaml needs, whether this machine has it, and what of the setup is amiss.

    Exits with 1 if a rung cannot run here.
    """
    text, content = read_project(params)
    machine = this_machine()
    length = longest_prompt(Path("data/alpaca"), int(content.get("max_length") or 1400))
    settings = Settings(content.get("train") or {}, length)
    ladder = content["ladder"]
    facts = [facts_of(key, rung["base"], settings, Path("data/bases")) for key, rung in ladder.items()]
    amiss: list[str] = []
    if hub:
        facts, amiss = ask_hub(ladder, facts)
    found = needs(ladder, facts, settings, machine)
    amiss += problems(Path(), (params, text), (pipeline, read_text(pipeline)), len(machine.gpus))
    if wants_json:
        click.echo(as_json(found, machine, length, amiss))
    else:
        click.echo("\n".join([*table(found), "", *machine_lines(machine, length)]))
        for each in found:
            if each.reasons:
                click.echo(f"{each.key}: {'; '.join(each.reasons)}.")
        click.echo(
            "\n".join(["", "To see to:", *(f"- {problem}" for problem in amiss)]) if amiss else "\nNothing amiss."
        )
    if any(each.fits is False for each in found):
        context.exit(1)


if __name__ == "__main__":
    doctor_command()
