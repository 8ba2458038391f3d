"""Everything a page shows, computed from the logs, the questions and the predictions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatladder.cli.report.ladder import Answers, Asked, default_rungs, need_models, on_shared_items, read_models, score
from chatladder.cli.report.moves import move_sections
from chatladder.cli.report.provenance import command, hashes, shown_path, versions
from chatladder.cli.report.rounds import Rounds, answers_of, changes, read_rounds
from chatladder.cli.report.sections import KINDS, growth, headline, scaling, since_before, transitions
from chatladder.cli.report.texts import read_texts
from chatladder.cli.report.tuned import Tuned, read_tuned
from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, QUESTIONS, Rows
from chatladder.labels.review import FILE, flips_by_round
from chatladder.labels.rounds import adjudication_files, log_files


@dataclass(frozen=True)
class Options:
    """What a report is about: paths, the rungs (all there are, if none is named), the round, and the bootstrap."""

    annotations: Path
    questions: Path
    labelled: Path
    bases: Path
    vanilla: Path
    tuned: Path
    keys: tuple[str, ...]
    round: int
    draws: int
    seed: int
    texts: bool

    def rungs(self) -> list[str]:
        """The rungs that are asked for, or those that there are."""
        return list(self.keys) or default_rungs(self.bases)

    def command(self) -> str:
        """The command line that makes the page again."""
        paths = ("annotations", "questions", "labelled", "bases", "vanilla", "tuned")
        given: list[tuple[str, str | int | Path | None]] = [("round", self.round)]
        given += [(name, getattr(self, name)) for name in paths]
        given += [("rung", key) for key in self.rungs()]
        given += [("draws", self.draws), ("seed", self.seed)]
        return command(given if self.texts else [*given, ("no-texts", None)])


def build(options: Options) -> dict[str, Any]:
    """What the template shows.

    Raises:
        DataError: If an input cannot be used.
    """
    asked = read_asked(options.questions)
    rounds = read_rounds(options.annotations, options.round, asked.ids)
    labels = [each.labels() for each in rounds.rounds]
    scored_once = {item_id for each in labels for item_id in each}
    # With predictions for all that any round labels, so that every round is scored on all that it labels.
    ids = [item_id for item_id in asked.ids if item_id in scored_once]
    answers = read_models(options.bases, options.vanilla, options.rungs(), ids)
    scored = [score(asked, each, answers, options.draws, options.seed) for each in labels]
    now, before = rounds.rounds[-1], rounds.rounds[-2] if len(rounds.rounds) > 1 else None
    changed = changes(before, now, asked.ids)
    splits, stale = read_splits(options.labelled, labels[-1])
    tuned = read_tuned(options.tuned, options.rungs(), labels[-1], splits)
    moved = move_sections(labels[-1], changed if before else [], answers, tuned)
    shared = on_shared_items(asked, labels[-2], labels[-1], answers, options.draws, options.seed) if before else None
    missing = need_models(answers, options.bases, options.vanilla)
    return {
        "round": now,
        "before": before,
        "texts": options.texts,
        "rounds": rounds,
        "questions": len(asked.ids),
        "headline": headline(scored[-1], missing),
        "since": since_before(rounds, scored, shared),
        "labelled": Counter(labels[-1].values()),
        "left_out": len(now.verdicts) - len(labels[-1]),
        "changed": Counter(change.kind() for change in changed),
        "transitions": list(transitions(rounds, asked)),
        "review": flips_by_round(options.annotations, now.number, rounds.logs).get(now.number),
        "growth": growth(rounds, scored, shared, missing),
        "plots": scaling(rounds, scored, answers),
        "moves": moved,
        "shown": [(each, list(answers_of(rounds.rounds, each.change.item_id))) for each in moved.strongest],
        "said": read_texts(options.questions, [each.change.item_id for each in moved.strongest])
        if options.texts
        else {},
        "tuned": tuned,
        "notes": list(notes(options, rounds, stale, answers, tuned)),
        "command": options.command(),
        "versions": versions(),
        "hashes": hashes(inputs(options, answers, tuned)),
        "draws": options.draws,
        "seed": options.seed,
        "annotators": sorted({name for each in rounds.rounds for name in each.answers}),
        "kinds": KINDS,
    }


def read_asked(questions: Path) -> Asked:
    """Ids and conversations of all questions."""
    asked = Asked([], [])
    for part in Rows(questions, QUESTIONS).parts(["item_id", "conversation"]):
        asked.ids.extend(part["item_id"].to_pylist())
        asked.conversations.extend(part["conversation"].to_pylist())
    if len({*asked.ids}) < len(asked.ids) or None in asked.ids or None in asked.conversations:
        raise DataError(
            f"{questions}: expected an id of its own, and a conversation, for every question. Pick them again."
        )
    return asked


def read_splits(labelled: Path, labels: Mapping[str, str]) -> tuple[dict[str, str], int | None]:
    """Item -> split, of the labelled questions; and how many of them have another label than the answers give.

    Returns:
        Nothing, and None, where there is no such file yet.
    """
    if not labelled.exists():
        return {}, None
    splits: dict[str, str] = {}
    differing = 0
    for part in Rows(labelled, LABELLED).parts(["item_id", "label", "split"]):
        for item_id, label, split in zip(*(part[name].to_pylist() for name in part.column_names), strict=True):
            splits[item_id] = split
            differing += labels.get(item_id) != label
    return splits, differing + sum(item_id not in splits for item_id in labels)


def notes(options: Options, rounds: Rounds, stale: int | None, answers: Answers, tuned: Tuned) -> Iterator[str]:
    """What the reader should know about the inputs, one sentence or two each."""
    if rounds.logs.orphaned:
        yield (
            f"{rounds.logs.orphaned:,} annotated items are no longer among the questions; they are left out of this "
            "page."
        )
    for place in rounds.torn:
        path, _, line = place.rpartition(":")
        yield f"{shown_path(Path(path))}:{line}: the last line is cut short and left out. The next answer repairs it."
    if stale:
        yield (
            f"{shown_path(options.labelled)} holds other labels than the answers of rounds 1 to {options.round} give, "
            f"at {stale:,} items: it was made of other rounds or is out of date. If that is not meant, run "
            '"dvc repro".'
        )
    if answers.waiting and answers.predictions:
        yield (
            f"Left out, since they have not answered yet: {', '.join(answers.waiting)}. "
            'Run "dvc repro predict_vanilla" to have them here.'
        )
    if tuned.missing:
        yield (
            f"The tuned models have not answered {tuned.missing:,} of the test items of this round; their effects are "
            "computed on the others."
        )


def inputs(options: Options, answers: Answers, tuned: Tuned) -> Iterator[Path]:
    """Every file that was read."""
    yield options.questions
    if options.labelled.exists():
        yield options.labelled
    yield from log_files(options.annotations, options.round)
    yield from adjudication_files(options.annotations, options.round)
    review = options.annotations / f"round_{options.round}" / FILE
    if review.exists():
        yield review
    for rung in answers.ladder.rungs():
        yield options.bases / rung.key / "rung.json"
        yield options.vanilla / f"{rung.key}.parquet"
    for key in tuned.models:
        yield options.tuned / f"{key}.parquet"
