"""params.yaml and dvc.yaml of a new project, as texts: what is not about the new chat keeps every byte."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatladder.cli.doctor.machine import Machine, this_machine
from chatladder.io.console import DataError
from chatladder.presets import Catalogue, read
from chatladder.presets.edit import Rungs, rungs_of, swap_params, swap_pipeline
from chatladder.presets.nodes import Edit, child, compose, plain, replace, span

EMBEDDED = "embedded"
#: What a GPU runs, unless another ladder is asked for.
ON_GPUS = "qwen2_5"
#: Fewer rungs have no slope.
FEWEST_RUNGS = 3


def adapt_params(text: str, timezone: str, language: str, place: str) -> str:
    """params.yaml for a chat of one's own: its time zone and language, one round, and a test drawn from all of it.

    ``split.test_from``, a date of the demo, stays behind as a comment.

    Args:
        text: Of params.yaml, with line feeds alone.
        timezone: A name of the IANA database.
        language: Of the prompts.
        place: Name of the file, for errors.

    Raises:
        DataError: If a value is not there, or the file's form keeps one from being replaced alone.
    """
    root = compose(text, place)
    values = {"ingest.timezone": timezone, "prompt.language": language, "annotation.round": 1}
    edits = [_replaced(text, child(root, path, place)[1], str(value)) for path, value in values.items()]
    wanted = plain(text)
    for path, value in values.items():
        section, name = path.split(".")
        wanted[section][name] = value
    if "test_from" in wanted["split"]:
        del wanted["split"]["test_from"]
        start, end = span(text, *child(root, "split.test_from", place))
        line = text[start:end]
        edits.append((start, end, re.sub(r"^( *)", r"\1# ", line)))
    new = replace(text, edits)
    compose(new, place)
    if plain(new) != wanted:
        raise DataError(f"{place}: its form keeps its values from being replaced alone.")
    return new


def _replaced(text: str, node: Any, value: str) -> Edit:
    """The edit that puts a value in place of another, the comment behind it left in its column where there is room."""
    start, end = node.start_mark.index, node.end_mark.index
    blanks = re.match(r" +(?=#)", text[end:])
    if not blanks:
        return start, end, value
    width = end - start + len(blanks[0])
    return start, end + len(blanks[0]), f"{value:<{max(width, len(value) + 1)}}"


def swap_ladder(params: str, pipeline: str, name: str, only: Sequence[str]) -> tuple[str, str, list[str]]:
    """Both files with the rungs of a catalogue, and the keys of these.

    Args:
        params: Text of params.yaml.
        pipeline: Text of dvc.yaml.
        name: Of the catalogue.
        only: The rungs to take.

    Raises:
        DataError: If there is no such catalogue, or the files have another form.
    """
    catalogue = read(name)
    rungs = _rungs(catalogue, only)
    old = rungs_of(params, "params.yaml")
    commits = {key: catalogue.rungs[key]["base"].get("revision") for key in rungs.ladder}
    new, _ = swap_params(params, catalogue, rungs, commits, "params.yaml")
    return new, swap_pipeline(pipeline, old, rungs, "dvc.yaml")[0], rungs.ladder


def _rungs(catalogue: Catalogue, only: Sequence[str]) -> Rungs:
    ladder = [key for key in catalogue.rungs if key in only]
    # Labels are judged by several adapters, so by a rung that is cheap to train.
    return Rungs(ladder, [key for key in catalogue.review if key in ladder] or ladder[:1])


def ladder_here() -> str:
    """The catalogue for this machine: embedded where no GPU holds enough rungs for a slope."""
    machine = this_machine()
    return ON_GPUS if machine.gpus and len(fitting(read(ON_GPUS), machine)) >= FEWEST_RUNGS else EMBEDDED


def rungs_here(name: str) -> list[str]:
    """The rungs of a catalogue that this machine runs; all of them where those are too few for a slope.

    Somebody who asks for a ladder on a machine that cannot run it means to run it on another.
    """
    catalogue = read(name)
    if name == EMBEDDED:
        return [*catalogue.rungs]
    fit = fitting(catalogue, this_machine())
    return fit if len(fit) >= FEWEST_RUNGS else [*catalogue.rungs]


def fitting(catalogue: Catalogue, machine: Machine) -> list[str]:
    """The rungs that a machine has memory and disk for, as ``chatladder doctor`` counts."""
    from chatladder.cli.doctor.rungs import Settings, facts_of, needs

    values = {path: plain(value) for path, value in catalogue.params.items()}
    train = {path.removeprefix("train."): value for path, value in values.items() if path.startswith("train.")}
    settings = Settings(train, int(values["max_length"]))
    facts = [facts_of(key, rung["base"], settings, Path("data/bases")) for key, rung in catalogue.rungs.items()]
    return [each.key for each in needs(catalogue.rungs, facts, settings, machine) if each.fits]
