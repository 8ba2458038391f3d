"""Annotate in Label Studio: tasks and configuration for it, and the answers back into the annotation logs.

Example:
    chatladder label-studio export --out tasks.json --config label_config.xml
    chatladder label-studio import --export project-1.json --round 3 --new-round --annotators 1=li,2=wu

In Label Studio, make a project, paste the configuration under Labeling Setup, Custom Template, and import the tasks.
They contain no label and no answer of a model; the keys are those of chatladder annotate. A question that is needed can
be written out there, too; the text is masked on import. Answers come from Label Studio's JSON export; they are added to
data/annotations/round_N/NAME.jsonl, and importing an export again adds nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from chatladder.cli.annotate import round_records
from chatladder.cli.annotate.options import Checked
from chatladder.cli.annotate.session import SessionItems, listed_items
from chatladder.cli.annotate.writing import phone_regions
from chatladder.cli.label_studio.exchange import (
    Given,
    config_of,
    latest,
    new_answers,
    parse_names,
    read_export,
    write_tasks,
)
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example, printable
from chatladder.io.files import whole_file
from chatladder.io.options import options_of, setting
from chatladder.io.rows import QUESTIONS, Rows
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.review import refuse_review
from chatladder.labels.rounds import log_path

_QUESTIONS = Path("data/questions.parquet")
#: Reasons why annotations did not become answers, in words.
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


@dataclass(frozen=True)
class TasksOptions:
    """The options of label-studio export."""

    out: Path = setting("Tasks to write (JSON).", type=OutputFile)
    config: Path | None = setting("Labelling configuration to write (XML).", type=OutputFile, default=None)
    questions: Path = setting("Questions to export (parquet).", type=InputFile, default=_QUESTIONS)
    items: Path | None = setting(
        "Only these items, in this order (JSON lines with item_id).", type=InputFile, default=None
    )
    guidelines: Path | None = setting("Guidelines that replace the default ones.", type=InputFile, default=None)


@dataclass(frozen=True)
class AnswersOptions:
    """The options of label-studio import."""

    export: Path = setting("Export of Label Studio (JSON).", type=InputFile)
    round: int = setting("Round of the answers.", least=1)
    new_round: bool = setting("Begin that round if it is the next.", default=False)
    annotators: str | None = setting(
        "Annotator names by user number: 1=li,2=wu.", type=Checked(parse_names), default=None
    )
    annotations: Path = setting("Folder of the rounds.", type=OutputFolder, default=Path("data/annotations"))
    questions: Path = setting("Questions that were exported (parquet).", type=InputFile, default=_QUESTIONS)
    orphans: str = setting(
        "If an answer's question is unknown: skip and count it, or stop.",
        choices=("report", "refuse"),
        default="refuse",
    )
    allow_changed_guidelines: bool = setting("Continue a round whose guidelines changed.", default=False)


def chosen(questions: Path, listed: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Yield rows of ``QUESTIONS``: all in the order of the chat, or those that are listed, in that order.

    Raises:
        DataError: If the file is damaged.
    """
    wanted = None if listed is None else frozenset(listed)
    rows: dict[str, dict[str, Any]] = {}
    try:
        for part in Rows(questions, QUESTIONS).parts(rows=4096):
            if wanted is None:
                yield from part.to_pylist()
            else:
                rows |= {row["item_id"]: row for row in part.to_pylist() if row["item_id"] in wanted}
    except UnicodeDecodeError as error:
        raise DataError(f"{questions}: expected texts in UTF-8. Write it again.") from error
    yield from (rows[item_id] for item_id in listed or ())


def settle_round(folder: Path, answers: Mapping[str, Sequence[Given]], options: AnswersOptions) -> None:
    """Compare the annotators and the guidelines of an import with those of the round, or begin it.

    Raises:
        DataError: If the round is a review, shared by others, or follows other guidelines.
    """
    refuse_review(folder)
    shared = round_records.settle_assignment(folder)
    strangers = [name for name in answers if shared and name not in shared[0]]
    if shared and strangers:
        raise DataError(
            f"{folder}: expected answers of {', '.join(shared[0])}, who share this round, got some of "
            f"{', '.join(strangers)}. Name them with --annotators, or import into another --round."
        )
    versions = sorted({answer.version for given in answers.values() for answer in given})
    if len(versions) > 1 and not options.allow_changed_guidelines:
        raise DataError(
            f"{options.export}: expected tasks under one wording of the guidelines, got {', '.join(versions)}. Export "
            "them from Label Studio apart, or go on with --allow-changed-guidelines, which is recorded."
        )
    own = round_records.version_of(round_records.read_guidelines(round_records.GUIDELINES))
    for version in versions:
        file = round_records.GUIDELINES if version == own else options.export
        round_records.settle_guidelines(folder, file, version, allow_changed=options.allow_changed_guidelines)


def import_answers(options: AnswersOptions) -> Counter[str]:
    """Add the answers of an export to the logs of a round, once all of it is validated.

    Returns:
        The number of annotations, and the numbers left out, by reason.

    Raises:
        DataError: If the export, the questions or the round do not allow it.
    """
    given, counts = read_export(options.export, phone_regions())
    known = frozenset(SessionItems(options.questions).ids)
    orphans = [answer for answer in given if answer.item_id not in known]
    if orphans and options.orphans == "refuse":
        raise DataError(
            f"{orphans[0].place}: expected an item of the questions, got {orphans[0].item_id[:60]!a}; {len(orphans)} "
            f"of {len(given)} answers are about unknown items. Point to the questions that were exported, or let "
            "--orphans report leave those answers out."
        )
    answers = latest((answer for answer in given if answer.item_id in known), parse_names(options.annotators))
    counts["orphaned"] = len(orphans)
    counts["replaced"] = len(given) - len(orphans) - sum(map(len, answers.values()))
    paths = {name: log_path(options.annotations, options.round, name) for name in answers}
    if not paths:
        return counts
    round_records.check_round(options.annotations, options.round, new=options.new_round)
    settle_round(next(iter(paths.values())).parent, answers, options)
    with ExitStack() as stack:
        logs = {name: stack.enter_context(LogWriter(path)) for name, path in paths.items()}
        # Each is read once it is locked: answers that somebody else writes meanwhile would be missed.
        todo = {name: new_answers(answers[name], replay(path), name, options.round) for name, path in paths.items()}
        for name, (added, left) in todo.items():
            logs[name].extend(added)
            counts["older"] += left["older"]
            click.echo(f"{paths[name]}: {len(added):,} answers added, {left['known']:,} known already.")
    return counts


@click.group(context_settings=SETTINGS, epilog=example(__doc__))
def label_studio_group() -> None:
    """Annotate in Label Studio and import the answers."""


@label_studio_group.command("export", context_settings=SETTINGS, short_help="Write the questions as tasks.")
@options_of(TasksOptions, "options")
def export_command(options: TasksOptions) -> None:
    """Write tasks and the labelling configuration for Label Studio."""
    words = round_records.read_guidelines(options.guidelines or round_records.GUIDELINES)
    version = round_records.version_of(words)
    view = config_of(words, version)
    known = set(SessionItems(options.questions).ids)
    listed, unknown = listed_items(options.items, known) if options.items else (None, 0)
    count = write_tasks(options.out, chosen(options.questions, listed), version)
    if options.config:
        with whole_file(options.config) as temporary:
            temporary.write_text(view, encoding="utf-8", newline="\n")
    left_out = f", {unknown:,} listed items are not among the questions" if unknown else ""
    click.echo(f"{options.out}: {count:,} tasks under guidelines {version}{left_out}")


@label_studio_group.command("import", context_settings=SETTINGS)
@options_of(AnswersOptions, "options")
def import_command(options: AnswersOptions) -> None:
    """Add the answers of a Label Studio export to the annotation logs of a round.

    A user without a name in --annotators is called labelstudio_NUMBER.
    """
    counts = import_answers(options)
    left_out = "; ".join(f"{counts[reason]:,} {words}" for reason, words in _LEFT_OUT.items() if counts[reason])
    click.echo(
        f"{printable(str(options.export))}: {counts['annotations']:,} annotations; left out: {left_out or 'none'}"
    )


if __name__ == "__main__":
    label_studio_group()
