"""Say where the project stands: what is there, what is stale, and what to do next, in ten lines or fewer.

Example:
    chatladder status

It reads the files of the project and asks DVC what has changed; nothing is run or written.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from chatladder.cli.status.standing import (
    NOT_BEFORE_GATE,
    NOT_BEFORE_TUNED,
    Standing,
    Worker,
    gather,
    next_step,
    stages_in_words,
)
from chatladder.io.console import SETTINGS, example, printable, shortened

#: Annotators that are named; columns that one name may take.
MOST_NAMES, NAME_COLUMNS = 5, 24


def lines(now: Standing) -> list[str]:
    """What there is, a line each, and the next step; no text of the chat, and no character that moves the cursor."""
    step = next_step(now)
    rows = [
        ("Exports", _exports(now)),
        ("Questions", "not picked yet" if now.questions is None else f"{now.questions:,}"),
        (f"Round {now.round}", _round(now)),
        ("Gate", f"{now.gate}{_age(now, NOT_BEFORE_GATE)}" if now.gate else "not run yet"),
        ("Tuned", _tuned(now)),
        ("Stale", _stale(now)),
        ("Next", f"{step.command}   # {step.why}"),
    ]
    return [printable(f"{name + ':':<10} {text}") for name, text in rows]


def _exports(now: Standing) -> str:
    if not now.exports:
        return "none in data/raw" + (f", {now.absent:,} kept by DVC" if now.absent else "")
    own = "" if now.private else ", the demo alone"
    return f"{now.exports:,} {'file' if now.exports == 1 else 'files'} in data/raw{own}"


def _round(now: Standing) -> str:
    parts = [(now.questions and _names(now.workers)) or _untold(now)]
    if now.is_review:
        parts.insert(0, "a review")
    if now.undecided:
        parts.append(f"{now.undecided:,} undecided")
    return "; ".join(parts)


def _untold(now: Standing) -> str:
    """Who has answered what, where there is nothing to count it by."""
    if now.answered < now.round:
        return "nobody has answered yet"
    return "answered, and without questions nothing tells how far"


def _names(workers: Sequence[Worker]) -> str:
    # Whoever has most left comes first: the others may be left out.
    ordered = sorted(workers, key=lambda each: (each.answered - each.items, each.name))
    said = [
        f"{shortened(each.name, NAME_COLUMNS)} {each.answered:,} of {each.items:,}" for each in ordered[:MOST_NAMES]
    ]
    return ", ".join(said) + (f" and {len(workers) - MOST_NAMES} more" if len(workers) > MOST_NAMES else "")


def _age(now: Standing, unrelated: frozenset[str]) -> str:
    """Marks a figure of the last run where something that it comes from has changed since."""
    if now.stale is None:
        return ", of the last run that ended"
    return ", of an earlier run" if now.is_outdated(unrelated) else ""


def _tuned(now: Standing) -> str:
    if now.tuned is None:
        return "not run yet"
    return (
        f"macro-F1 {now.tuned.macro_f1:.3f} of {shortened(now.tuned.rung, NAME_COLUMNS)}{_age(now, NOT_BEFORE_TUNED)}"
    )


def _stale(now: Standing) -> str:
    if now.stale is None:
        return f"not known: {now.trouble}"
    return stages_in_words([shortened(name, NAME_COLUMNS) for name in now.stale]) or "nothing"


@click.command(
    name="status",
    short_help="Say where the project stands, and what to do next.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
def status_command() -> None:
    """Say what the project in this folder holds, what is stale, and the next useful step."""
    click.echo("\n".join(lines(gather(Path()))))


if __name__ == "__main__":
    status_command()
