r"""Say what each rung needs, how long it takes and whether this machine has it, before anything is downloaded or run.

Example:
    chatladder doctor
    chatladder doctor --hub --json

Memory is that of tensors at the settings of params.yaml and at the longest possible prompt, computed from the shape of
each model (``chatladder/models/memory.py``); a ≈ marks a guess for a model of unknown shape. Time is the operations of
all stages over the measured speed of this machine (``chatladder/cli/doctor/duration.py``). Problems come last, with
what to do.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chatladder.cli.doctor.duration import Duration, Workload, section, show_duration, workload_of
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
from chatladder.cli.doctor.recommend import RECOMMENDED, durations_of, language_of, misfits, show_work
from chatladder.cli.doctor.setup import hints, own_exports, problems
from chatladder.cli.status import exports
from chatladder.io.console import SETTINGS, DataError, example, shortened
from chatladder.io.params import PARAMS, read_yaml
from chatladder.models.devices import DTYPE
from chatladder.presets import hub_trouble, ladder_of, model_info

COLUMNS = ("rung", "source", "params", "active", "disk", "score", "train", "GPUs", "runs")
#: The width of a terminal, and the widths of the table's columns after the first, in characters.
WIDTH = 80
_WIDTHS = (8, 7, 6, 6, 7, 7, 4, 4)

#: The advice if no hub can be reached.
WITHOUT_HUB = (
    "Set HF_ENDPOINT to a mirror that you trust. Or, on a machine that reaches a hub, run hf download REPO "
    "--revision COMMIT --local-dir FOLDER, copy the folder to this machine, and set the rung's base to {source: "
    "folder, path: FOLDER}; or copy the model as one .gguf file: base {source: gguf, gguf: FILE.gguf}."
)


def ask_hub(ladder: Mapping[str, Any], facts: dict[str, MemoryNeed]) -> list[str]:
    """Check the commit of each hub rung and fill in unknown sizes from the hub; return the problems."""
    troubles = []
    for key, known in facts.items():
        if known.source == "hub" and not known.reasons:
            base = ladder[key]["base"]
            try:
                info = model_info(str(base["repo"]), str(base["revision"]))
                facts[key] = sized(known, info.safetensors.total if info.safetensors else None)
            except DataError as error:
                troubles.append(f"{key}: {error.message}")
                if known.disk:  # a model in the cache runs without the hub
                    facts[key] = known._replace(reasons=("the hub does not provide it",))
    return troubles


def without_hub(facts: dict[str, MemoryNeed]) -> list[str]:
    """If no hub can be reached, mark the rungs that must be downloaded; return what to do."""
    waiting = [key for key, known in facts.items() if known.source == "hub" and (known.disk or known.params is None)]
    if not waiting or not (trouble := hub_trouble()):
        return []
    for key in waiting:
        facts[key] = facts[key]._replace(
            reasons=(*facts[key].reasons, "it is not downloaded, and no hub can be reached")
        )
    return [f"No model hub can be reached: {trouble}. {WITHOUT_HUB}"]


def time_lines(durations: Mapping[str, Duration | None], work: Workload) -> list[str]:
    """Return lines about the time of each rung and of all of them; none if no time is known."""
    known = {key: each for key, each in durations.items() if each}
    if not known:
        return []
    lines = [f"Time for {show_work(work)}, without downloads:"]
    for key, each in known.items():
        parts = {"untouched answers": each.untouched, "training": each.training, "tuned answers": each.tuned}
        parts |= {"adapters that judge labels": each.folds} if each.folds else {}
        said = ", ".join(f"{name} {show_duration(part).removeprefix('about ')}" for name, part in parts.items())
        lines.append(f"{key}: {show_duration(each.total)} ({said}).")
    if any(each.folds for each in known.values()):
        lines.append("To skip the adapters that judge labels, set review.rungs: [] in params.yaml.")
    if len(known) > 1:
        lines.append(f"Total: {show_duration(sum(each.total for each in known.values()))}.")
    return lines


def ending(rows: Mapping[str, MemoryNeed], troubles: Sequence[str], hints: Sequence[str]) -> list[str]:
    """Return the last lines: hints, then problems with what to do."""
    failing = {key: each for key, each in rows.items() if each.runs is False}
    failures = [f"{key} does not run here: {'; '.join(each.reasons)}." for key, each in failing.items()]
    if any("memory" in reason for each in failing.values() for reason in each.reasons):
        failures.append(f'"chatladder ladder {RECOMMENDED}" chooses models that fit into memory.')
    failures += troubles
    lines = ["", "Worth knowing:", *(f"- {hint}" for hint in hints)] if hints else []
    if failures:
        return [*lines, "", "Problems:", *(f"- {failure}" for failure in failures)]
    unknown = [key for key, each in rows.items() if each.runs is None]
    verdict = (
        f"Whether {', '.join(unknown)} runs here is known once its base is made" if unknown else "All rungs run here"
    )
    return [*lines, "", f"{verdict}, and the setup is complete."]


def table(rows: Mapping[str, MemoryNeed]) -> list[str]:
    """Return one line per rung, below a line of headings; at most 80 columns wide."""
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
    """Return lines about the machine and the columns of the table."""
    has, counted = "No GPU", "80 GB GPUs, in bfloat16"
    if machine.gpus:
        cards = zip(machine.gpu_names, machine.gpus, strict=True)
        has = f"GPUs: {', '.join(f'{name} {show_bytes(free)}' for name, free in cards)} free"
        has += ", of the same memory" if machine.device == "mps" else ""
        counted = "GPUs like the one with the most free memory here"
    rest = f"Disk: {show_bytes(machine.disk)} free. Cores: {machine.cores}. {has}."
    return [
        f"Memory: {show_bytes(machine.memory)} free. {rest}",
        f"Numbers: {machine.dtype}, {_why(machine)}.",
        f"disk: still to download or write. score, train: memory at prompts of {length:,} tokens.",
        f"GPUs: {counted}.",
    ]


def _why(machine: Machine) -> str:
    """Return why models compute in the machine's dtype, and which models do not."""
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
@click.option("--hub", is_flag=True, help="Check that the hub has each model at its commit.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON with sizes in bytes.")
@click.pass_context
def doctor_command(context: click.Context, hub: bool, wants_json: bool) -> None:
    """Show the memory, disk and time that each rung of params.yaml needs, and list problems at the end.

    Exits with 1 if a rung cannot run here or something is wrong with the setup.
    """
    params = read_yaml(PARAMS)
    ladder = ladder_of(params, str(PARAMS))
    machine = this_machine()
    length = longest_prompt(Path("data/alpaca"), int(params.get("max_length") or 1400))
    facts = {key: facts_of(key, rung["base"], Path("data/bases")) for key, rung in ladder.items()}
    troubles = without_hub(facts) or (ask_hub(ladder, facts) if hub else [])
    train, judges = section(params, "train"), list(section(params, "review").get("rungs") or ())
    rows = needs(ladder, facts, train, length, machine)
    work = workload_of(params, Path("data"))
    durations = durations_of(ladder, rows, judges, train, work, machine)
    troubles += problems(Path())
    is_demo = not own_exports(exports(Path("data/raw"))[0])
    known = [*hints(len(machine.gpus)), *misfits(ladder, language_of(params), is_demo=is_demo)]
    if wants_json:
        about = {**asdict(machine), "cache": str(machine.cache)}
        rungs = [
            {"rung": key, **each.as_json(), "seconds": time and {**asdict(time), "total": time.total}}
            for (key, each), time in zip(rows.items(), durations.values(), strict=True)
        ]
        document = {"machine": about, "prompt_tokens": length, "work": work._asdict(), "rungs": rungs}
        click.echo(json.dumps({**document, "hints": known, "problems": troubles}, ensure_ascii=False, indent=2))
    else:
        lines = [*table(rows), "", *machine_lines(machine, length)]
        if times := time_lines(durations, work):
            lines += ["", *times]
        lines += [f"{key}: {'; '.join(each.reasons)}." for key, each in rows.items() if each.runs and each.reasons]
        click.echo("\n".join([*lines, *ending(rows, troubles, known)]))
    if troubles or any(each.runs is False for each in rows.values()):
        context.exit(1)


if __name__ == "__main__":
    doctor_command()
