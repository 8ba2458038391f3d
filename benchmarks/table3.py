"""The ablations of the paper's third table as one queue of experiments, for any rung: rates, ranks, LoRA+, all weights.

Run it in the repository's root, after ``dvc repro``.

Example:
    python -m benchmarks.table3 --rung qwen1_5_4b
    python -m benchmarks.table3 --rung qwen1_5_4b --queue && dvc queue start -j 1
    python -m benchmarks.table3 --rung qwen1_5_4b --show
    python -m benchmarks.table3 --rung embedded_700k --learning-rate 4.0e-3 --lora-r 16 --num-train-epochs 4

The first prints the commands, the second queues the new ones, the third prints the results as a Markdown table: choose
by the validation column, report the test of the chosen one. The values are those of arXiv 2405.02817 at 4B: learning
rates 2e-4 and 2e-5, ranks 16 to 128, and LoRA+ (arXiv 2402.12354) of ratio 16 at 5e-5 for 1, 2 and 4 epochs. The last
takes another starting point, for rungs that the paper's does not suit: the other rates are a tenth and a quarter of it,
the other epochs twice and four times as many.

Every experiment except the first differs from another one of the grid in one setting, and all share the rung's batch;
the paper compared two learning rates at batches of 32 and 16. That needs one row more than the paper has: the rate of
LoRA+ without LoRA+. Training all weights is another row, if the rung is small enough (``--full`` and ``--no-full``
override).

The settings go into the rung's own section, which overrides ``train``, so only that rung is trained, predicts and is
scored again; everything else comes from DVC's cache. Other stages are not run; ``dvc exp apply`` and
``dvc repro`` update them.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from chatladder.cli.doctor.memory import facts_of
from chatladder.io.console import SETTINGS, DataError, InputFile, example
from chatladder.io.params import read_yaml
from chatladder.presets import ladder_of

#: Settings that the grid varies, in the order of the table's columns, and the value that turns each off.
FACTORS = {"method": "lora", "learning_rate": None, "lora_r": None, "loraplus_lr_ratio": 0, "num_train_epochs": None}
#: All weights are trained for models up to so many parameters: AdamW in float32 takes 16 bytes each besides
#: activations.
SMALL = 10**9
RANKS = (16, 32, 64, 128)
LORAPLUS_RATIO = 16
PARAMS = "params.yaml"
METRICS = "metrics/models.json"
#: The stage that computes the scores; later stages cost nothing and are not needed.
TARGET = "evaluate"
SCORES = (("macro_f1", "macro-F1"), ("f1", "F1"))


class Experiment(NamedTuple):
    """One row of the grid.

    Attributes:
        name: The name of the experiment, as DVC shows it.
        settings: All of ``FACTORS``.
        parent: The experiment that differs in one of them; None for the first.
    """

    name: str
    settings: dict[str, Any]
    parent: str | None


def grid(rung: str, start: Mapping[str, Any], *, full: bool) -> list[Experiment]:
    """Return the experiments of one rung; each except the first differs from its parent in one setting.

    Args:
        rung: The rung's key.
        start: ``learning_rate``, ``lora_r`` and ``num_train_epochs`` of the first one.
        full: True to also train all weights, at the lowest rate.
    """
    rate, rank, epochs = start["learning_rate"], start["lora_r"], start["num_train_epochs"]
    first = Experiment(f"{rung}-start", {**FACTORS, **start}, None)
    rows = [first]

    def add(parent: Experiment, what: str, **change: Any) -> Experiment:
        rows.append(Experiment(f"{rung}-{what}", {**parent.settings, **change}, parent.name))
        return rows[-1]

    low, middle = _round(rate / 10), _round(rate / 4)
    lowest = add(first, f"lr-{_plain(low)}", learning_rate=low)
    for other in RANKS:
        if other != rank:
            add(first, f"r-{other}", lora_r=other)
    # The paper's LoRA+ has its own rate; without this row it would differ from all others in two settings.
    slower = add(first, f"lr-{_plain(middle)}", learning_rate=middle)
    plus = add(slower, f"loraplus-epochs-{epochs}", loraplus_lr_ratio=LORAPLUS_RATIO)
    for times in (2, 4):
        add(plus, f"loraplus-epochs-{times * epochs}", num_train_epochs=times * epochs)
    if full:
        add(lowest, f"full-lr-{_plain(low)}", method="full")
    return rows


def _round(rate: float) -> float:
    # 2e-4 / 10 must be 2e-05 and not its neighbour, or the same rate would have two names.
    return float(f"{rate:.6g}")


def _plain(rate: float) -> str:
    """Return a rate as part of a name: 2e-5."""
    digits, _, exponent = f"{rate:e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.').replace('.', '_')}e{int(exponent)}"


def value_text(value: Any) -> str:
    """Return a value as params.yaml writes it: 2.0e-5, which every YAML reader parses as a number."""
    if not isinstance(value, float):
        return str(value)
    digits, _, exponent = f"{value:e}".partition("e")
    digits = digits.rstrip("0")
    return f"{digits}0e{int(exponent)}" if digits.endswith(".") else f"{digits}e{int(exponent)}"


def settings_of(params: Mapping[str, Any], rung: str) -> dict[str, Any]:
    """Return the training settings of a rung: its own section over the defaults; a setting in neither is off."""
    own = (params.get("ladder", {}).get(rung) or {}).get("train") or {}
    return {**FACTORS, **(params.get("train") or {}), **own}


def overrides(rung: str, settings: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Return the overrides that change the settings in force, ``present``, to these.

    ``++`` sets a key whether it exists or not; without it DVC refuses a new key, with ``+`` an existing one.
    """
    differing = [name for name in FACTORS if settings[name] != present[name]]
    return [f"++ladder.{rung}.train.{name}={value_text(settings[name])}" for name in differing]


def command(rung: str, experiment: Experiment, present: Mapping[str, Any]) -> list[str]:
    """Return the words of the command that queues one experiment."""
    sets = [word for text in overrides(rung, experiment.settings, present) for word in ("-S", text)]
    return ["dvc", "exp", "run", "--queue", "-n", experiment.name, *sets, TARGET]


def commands_text(rung: str, rows: Sequence[Experiment], present: Mapping[str, Any]) -> str:
    """Return one command a line, each preceded by what it changes in which other experiment."""
    settings = {row.name: row.settings for row in rows}
    lines = []
    for row in rows:
        if row.parent is None:
            lines.append("# where the others start from")
        else:
            before = settings[row.parent]
            name = next(name for name in FACTORS if row.settings[name] != before[name])
            lines.append(f"# {row.parent} with {name} {value_text(row.settings[name])} for {value_text(before[name])}")
        lines.append(shlex.join(command(rung, row, present)))
    return "\n".join(lines)


def run_dvc(*words: str) -> str:
    """Return the output of a DVC command.

    Raises:
        DataError: If it fails, with its error output.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{shlex.join(['dvc', *words])} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def shown_experiments() -> list[dict[str, Any]]:
    """Return the experiments of this commit, as DVC shows them."""
    shown: list[dict[str, Any]] = json.loads(run_dvc("exp", "show", "--json"))
    return shown


def experiments(shown: Sequence[Mapping[str, Any]], rung: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield name, state and data of each experiment of a rung in ``dvc exp show --json``'s output, oldest first.

    A state is ``success``, ``failed``, ``queued`` or ``running``; an experiment that DVC cannot read has no data.
    """
    found = []
    for commit in shown:
        for entry in commit.get("experiments") or ():
            revision = entry["revs"][0]
            if not str(revision["name"] or entry.get("name")).startswith(f"{rung}-"):
                continue
            data = revision.get("data") or {}
            # A fetched experiment, or one whose run was removed, has no executor: it has its metrics all the same.
            state = "failed" if revision.get("error") else (entry.get("executor") or {}).get("state", "success")
            found.append((revision["name"] or entry["name"], state, data))
    return iter(sorted(found, key=lambda one: str(one[2].get("timestamp"))))


def _content(data: Mapping[str, Any], kind: str, path: str) -> dict[str, Any]:
    return ((data.get(kind) or {}).get(path) or {}).get("data") or {}


def scores_text(scores: Mapping[str, float]) -> list[str]:
    """Return each score with its interval: ``0.623 [0.580, 0.664]``."""
    return [f"{scores[key]:.3f} [{scores[f'{key}_lo']:.3f}, {scores[f'{key}_hi']:.3f}]" for key, _ in SCORES]


def chosen_by(data: Mapping[str, Any], rung: str) -> float:
    """Return the macro-F1 on the validation items, by which an experiment is chosen; -1 if it has none."""
    tuned = (_content(data, "metrics", METRICS).get(rung) or {}).get("tuned") or {}
    return float((tuned.get("validation") or {}).get("macro_f1", -1.0))


def table(shown: Sequence[Mapping[str, Any]], rung: str, order: Sequence[str] = ()) -> str:
    """Return a Markdown table: a row for each experiment, with the settings that vary, and its scores.

    The best on the validation items is bold: it is chosen, and its test scores are then the result.

    Args:
        shown: The output of ``dvc exp show --json``.
        rung: The rung's key.
        order: Names that come first, in this order; the others follow, oldest first.

    Raises:
        DataError: If the rung has no experiment.
    """
    place = {name: number for number, name in enumerate(order)}
    rows = sorted(experiments(shown, rung), key=lambda one: place.get(one[0], len(place)))
    if not rows:
        raise DataError(f"dvc exp show: expected experiments whose names begin with {rung}-, got none: see --queue.")
    settings = [settings_of(_content(data, "params", PARAMS), rung) for _, _, data in rows]
    columns = [name for name in FACTORS if len({str(each[name]) for each in settings}) > 1]
    heads = ["experiment", *columns, "validation macro-F1", *(f"test {title} [95 %]" for _, title in SCORES)]
    best = max((chosen_by(data, rung) for _, state, data in rows if state == "success"), default=-1.0)
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    untouched: list[str] = []
    for (name, state, data), each in zip(rows, settings, strict=True):
        result = _content(data, "metrics", METRICS).get(rung) or {}
        values = [value_text(each[column]) for column in columns]
        # The metrics of an unfinished experiment are those that it started from.
        done = state == "success" and "tuned" in result
        by = chosen_by(data, rung)
        shown_by = "" if by < 0 else f"**{by:.3f}**" if by == best else f"{by:.3f}"
        instead = [state if state != "success" else "no scores", *("" for _ in SCORES)]
        scored = [shown_by, *scores_text(result["tuned"])] if done else instead
        lines.append(f"| {' | '.join([name, *values, *scored])} |")
        if done and not untouched:
            untouched = ["untouched", *("" for _ in columns), "", *scores_text(result["vanilla"])]
    return "\n".join([*lines, f"| {' | '.join(untouched)} |"] if untouched else lines)


def queue(rung: str, rows: Sequence[Experiment], present: Mapping[str, Any]) -> None:
    """Queue the new experiments; DVC itself would queue a name twice."""
    there = {name: state for name, state, _ in experiments(shown_experiments(), rung)}
    for row in rows:
        if row.name in there:
            again = "; dvc queue remove --failed makes room" if there[row.name] == "failed" else ""
            click.echo(f"# {row.name} is there already: {there[row.name]}{again}")
            continue
        words = command(rung, row, present)
        run_dvc(*words[1:])
        click.echo(shlex.join(words))
    click.echo("Next: dvc queue start -j 1, and once that is done, --show in place of --queue.", err=True)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--rung", required=True, help="Key of the rung in params.yaml.")
@click.option("--queue", "queues", is_flag=True, help="Run the commands, too.")
@click.option("--show", is_flag=True, help="Print the results of those that have run.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True), default=2e-4, show_default=True, help="Of the first."
)
@click.option("--lora-r", type=click.IntRange(1), default=64, show_default=True, help="Of all but the other ranks.")
@click.option("--num-train-epochs", type=click.IntRange(1), default=1, show_default=True, help="Of most.")
@click.option("--full/--no-full", default=None, help="Train all weights, too.  [default: up to a billion of them]")
@click.option("--params", type=InputFile, default=PARAMS, help="The project's params.  [default: params.yaml]")
def main(rung: str, queues: bool, show: bool, full: bool | None, params: Path, **start: Any) -> None:
    """Print, queue or show the paper's ablations of one rung."""
    if queues and show:
        raise click.UsageError("--queue and --show: expected one of them, got both.")
    content = read_yaml(params)
    ladder = ladder_of(content, str(params))
    if rung not in ladder:
        raise DataError(f"--rung: expected one of {', '.join(ladder)}, got {rung}.")
    if full is None:
        facts = facts_of(rung, ladder[rung]["base"], Path("data/bases"))
        full = facts.params is not None and facts.params <= SMALL
    rows = grid(rung, start, full=full)
    if show:
        click.echo(table(shown_experiments(), rung, [row.name for row in rows]))
        return
    present = settings_of(content, rung)
    if queues:
        queue(rung, rows, present)
    else:
        click.echo(commands_text(rung, rows, present))


if __name__ == "__main__":
    main()
