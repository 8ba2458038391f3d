"""Annotate in Label Studio: tasks and configuration for it, and the answers back into the annotation logs.

Example:
    chatladder label-studio export --out tasks.json --config label_config.xml
    chatladder label-studio import --export project-1.json --round 3 --annotators 1=li,2=wu

In Label Studio, make a project, paste the configuration under Labeling Setup, Custom Template, and import the tasks.
They hold no label and nothing that a model says; the keys are those of chatladder annotate. Answers that come back are
added to data/annotations/round_N/NAME.jsonl, and importing an export again adds nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from chatladder.cli.annotate.items import Items, listed_items
from chatladder.cli.annotate.round_records import (
    GUIDELINES,
    read_guidelines,
    settle_assignment,
    settle_guidelines,
    version_of,
)
from chatladder.cli.label_studio.answers import latest, new_answers, parse_names
from chatladder.cli.label_studio.exported import Given, read_export
from chatladder.cli.label_studio.tasks import config_of, write_tasks
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example, printable
from chatladder.io.files import whole_file
from chatladder.io.rows import QUESTIONS, Rows
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.review import refuse_review
from chatladder.labels.rounds import log_path

#: What did not become an answer, in words.
_LEFT_OUT = {
    "skipped": "skipped by the annotator",
    "empty": "without an answer",
    "ownerless": "of users who were deleted",
    "replaced": "replaced by the same annotator's later one",
    "orphaned": "about unknown items",
    "older": "older than what the log says",
    "drafts": "left as drafts",
    "predictions": "predicted by a model",
}


def chosen(questions: Path, listed: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Rows of ``QUESTIONS``: all in the order of the chat, or those that are listed, in that order.

    Raises:
        DataError: If the file is damaged.
    """
    wanted = None if listed is None else frozenset(listed)
    kept: dict[str, dict[str, Any]] = {}
    try:
        for part in Rows(questions, QUESTIONS).parts(rows=4096):
            if wanted is None:
                yield from part.to_pylist()
            else:
                kept |= {row["item_id"]: row for row in part.to_pylist() if row["item_id"] in wanted}
    except UnicodeDecodeError as error:
        raise DataError(f"{questions}: expected texts in UTF-8. Write it again.") from error
    yield from (kept[item_id] for item_id in listed or ())


def check_known(given: Iterable[Given], known: frozenset[str], *, refuse: bool) -> tuple[list[Given], int]:
    """The answers about items of the questions, and how many others there are.

    Raises:
        DataError: If there are others and that is refused.
    """
    given = list(given)
    orphans = [answer for answer in given if answer.item_id not in known]
    if orphans and refuse:
        raise DataError(
            f"{orphans[0].place}: expected an item of the questions, got {orphans[0].item_id[:60]!a}; {len(orphans)} "
            f"of {len(given)} answers are about unknown items. Point to the questions that were exported, or let "
            "--orphans report leave those answers out."
        )
    return [answer for answer in given if answer.item_id in known], len(orphans)


def settle_round(folder: Path, source: Path, answers: Mapping[str, Sequence[Given]], *, allow_changed: bool) -> None:
    """Hold the annotators and the guidelines of an import against those of the round, or begin it.

    Args:
        folder: ``round_<n>``.
        source: The export.
        answers: By annotator.
        allow_changed: Take answers under another wording than the round's, and record that.

    Raises:
        DataError: If the round is a review, shared by others, or follows other guidelines.
    """
    refuse_review(folder)
    shared = settle_assignment(folder)
    strangers = [name for name in answers if shared and name not in shared[0]]
    if shared and strangers:
        raise DataError(
            f"{folder}: expected answers of {', '.join(shared[0])}, who share this round; got some of "
            f"{', '.join(strangers)}. Name them with --annotators, or import into another --round."
        )
    versions = sorted({answer.version for given in answers.values() for answer in given})
    if len(versions) > 1 and not allow_changed:
        raise DataError(
            f"{source}: expected tasks under one wording of the guidelines, got {', '.join(versions)}. Export them "
            "from Label Studio apart, or go on with --allow-changed-guidelines, which is recorded."
        )
    own = version_of(read_guidelines(GUIDELINES))
    for version in versions:
        file = GUIDELINES if version == own else source
        settle_guidelines(folder, file, version, allow_changed=allow_changed)


def import_answers(source: Path, options: Mapping[str, Any]) -> Counter[str]:
    """Add the answers of an export to the logs of a round, once all of it is known to fit.

    Args:
        source: The export.
        options: Of the command.

    Returns:
        Counts of the annotations, and of what was left out, by reason.

    Raises:
        DataError: If the export, the questions or the round do not allow it.
    """
    export = read_export(source)
    known = frozenset(Items(options["questions"]).ids)
    given, orphaned = check_known(export.given, known, refuse=options["orphans"] == "refuse")
    answers, replaced = latest(given, parse_names(options["annotators"]))
    counts = export.counts + Counter(orphaned=orphaned, replaced=replaced)
    round_number = options["round_number"]
    paths = {name: log_path(options["annotations"], round_number, name) for name in answers}
    if not paths:
        return counts
    settle_round(next(iter(paths.values())).parent, source, answers, allow_changed=options["allow_changed_guidelines"])
    with ExitStack() as stack:
        logs = {name: stack.enter_context(LogWriter(path)) for name, path in paths.items()}
        # Each is read once it is held: what somebody else writes meanwhile would be missed.
        todo = {name: new_answers(answers[name], replay(path), name, round_number) for name, path in paths.items()}
        for name, (added, left) in todo.items():
            logs[name].extend(added)
            counts["older"] += left["older"]
            click.echo(f"{paths[name]}: {len(added):,} answers added, {left['known']:,} known already.")
    return counts


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        parse_names(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.group(context_settings=SETTINGS, epilog=example(__doc__), short_help="Annotate in Label Studio, and back.")
def label_studio_group() -> None:
    """Annotate in Label Studio instead of here, and bring the answers back."""


@label_studio_group.command("export", context_settings=SETTINGS, short_help="Write the questions as tasks.")
@click.option("--out", type=OutputFile, required=True, help="Tasks to write (JSON).")
@click.option("--config", type=OutputFile, help="Labelling configuration to write (XML).")
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--items", type=InputFile, help="Only these, in their order: JSON lines with an item_id.")
@click.option("--guidelines", type=InputFile, default=GUIDELINES, help="What the labels mean, if not as usual.")
def export_command(out: Path, config: Path | None, questions: Path, items: Path | None, guidelines: Path) -> None:
    """Write the questions as tasks, and how Label Studio is to show them."""
    words = read_guidelines(guidelines)
    version = version_of(words)
    view = config_of(words, version)
    known = set(Items(questions).ids)
    listed, unknown = listed_items(items, known) if items else (None, 0)
    count = write_tasks(out, chosen(questions, listed), version)
    if config:
        with whole_file(config) as temporary:
            temporary.write_text(view, encoding="utf-8")
    left_out = f", {unknown:,} listed items are not among the questions" if unknown else ""
    click.echo(f"{out}: {count:,} tasks under guidelines {version}{left_out}")


@label_studio_group.command("import", context_settings=SETTINGS)
@click.option("--export", "source", type=InputFile, required=True, help="What Label Studio exported (JSON, JSON-MIN).")
@click.option("--round", "round_number", type=click.IntRange(1), required=True, help="The round they belong to.")
@click.option(
    "--annotators", callback=_names, help="Names of Label Studio's users, by number or address, as 1=li,2=wu."
)
@click.option("--annotations", type=OutputFolder, default="data/annotations", show_default=True)
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option(
    "--orphans",
    type=click.Choice(["report", "refuse"]),
    default="refuse",
    show_default=True,
    help="Answers whose question is unknown: leave them out and count them, or stop.",
)
@click.option("--allow-changed-guidelines", is_flag=True, help="Go on with a round whose guidelines changed.")
def import_command(source: Path, **options: Any) -> None:
    """Add the answers in an export to the annotation logs of a round.

    A user without a name in --annotators is called labelstudio_NUMBER.
    """
    counts = import_answers(source, options)
    left_out = "; ".join(f"{counts[reason]:,} {words}" for reason, words in _LEFT_OUT.items() if counts[reason])
    click.echo(f"{printable(str(source))}: {counts['annotations']:,} annotations; left out: {left_out or 'none'}")


if __name__ == "__main__":
    label_studio_group()
