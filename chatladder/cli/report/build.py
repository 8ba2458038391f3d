"""The values that a report shows, computed from the logs, the questions and the predictions."""

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from chatladder.cli.report.command import Options
from chatladder.cli.report.models import (
    AskedItems,
    Models,
    ScoredRound,
    default_rungs,
    name_of,
    read_asked,
    read_models,
    read_tuned,
    score,
)
from chatladder.cli.report.moves import Moves, moves_of
from chatladder.cli.report.page import hashes, shown_path, versions
from chatladder.cli.report.plots import Plot, forest_plot, scaling_plot
from chatladder.cli.report.rounds import (
    Change,
    Round,
    Rounds,
    answers_of,
    changes,
    matrix,
    read_rounds,
    scored_labels,
)
from chatladder.evaluation.gate import GateSettings
from chatladder.evaluation.label_sets import (
    UNTOUCHED,
    LabelSets,
    compare_under,
    compared_in_words,
    label_sets_of,
)
from chatladder.evaluation.scaling_check import METRICS, in_words
from chatladder.evaluation.scores import SHORT, Interval
from chatladder.evaluation.summary import footnotes, model_rows, read_metrics
from chatladder.io.rows import LABELLED, QUESTIONS, Rows
from chatladder.labels.label_sets import check_verdicts, label_sets
from chatladder.labels.review import FILE, flips_by_round, read_reviews
from chatladder.labels.rounds import adjudication_files, log_files
from chatladder.vocabulary import SCORED, TASK

#: Kinds of change, and the words that follow their count.
KINDS = (
    ("kept", "kept their label"),
    ("flipped", "were turned over"),
    ("settled", "had been disagreed on and were settled"),
    ("open", "are still disagreed on"),
    ("new", "had not been asked before"),
)
#: Metrics whose slopes the page shows, in words.
SHOWN = dict(zip(METRICS, ("AUROC", "precision as answered"), strict=True))
_DARKEST = 4


class Step(NamedTuple):
    """The changes from one round to the next, for the items that the later round asked about."""

    before: Round
    after: Round
    changed: list[Change]
    columns: list[str]
    rows: list[tuple[str | None, list[int]]]

    @property
    def counts(self) -> Counter[str]:
        """The number of items of each kind of change."""
        return Counter(change.kind() for change in self.changed)

    def heat(self, cell: int) -> int:
        """Return the shade of a cell, 0 to ``_DARKEST``, by its square root, so that a single item is still visible."""
        most = max(max(row) for _, row in self.rows)
        return math.ceil(_DARKEST * math.sqrt(cell / most))


@dataclass(frozen=True)
class Report:
    """A round, the rounds before it, and the models' scores on their labels.

    Attributes:
        options: The options of the command.
        rounds: The rounds, this one last.
        asked: All questions.
        models: The untouched models.
        tuned: The tuned models, on test items.
        scored: The labels of each round against the untouched models.
        compared: Comparisons of two label sets under the untouched models, in words.
        moves: The effects of the round's changes on the scores.
        stale: The number of labelled items whose label differs from the answers; None without such a file.
    """

    options: Options
    rounds: Rounds
    asked: AskedItems
    models: Models
    tuned: Models
    scored: list[ScoredRound]
    compared: list[str]
    moves: Moves
    stale: int | None

    @property
    def now(self) -> Round:
        """This round."""
        return self.rounds.rounds[-1]

    @property
    def before(self) -> Round | None:
        """The round before it."""
        return self.rounds.rounds[-2] if len(self.rounds.rounds) > 1 else None

    @property
    def annotators(self) -> list[str]:
        """The names of all who answered in any round."""
        return sorted({name for each in self.rounds.rounds for name in each.answers})

    @cached_property
    def steps(self) -> list[Step]:
        """The changes from each round to the next, the latest first."""
        steps = []
        for before, after in reversed(list(pairwise(self.rounds.rounds))):
            changed = changes(before, after, self.asked.ids)
            steps.append(Step(before, after, changed, *matrix(changed)))
        return steps

    @property
    def verdict(self) -> str:
        """The gate's verdict on this round's labels, or "none" if they could not be scored."""
        scaling = self.scored[-1].scaling
        return scaling.gate.verdict if scaling else "none"

    def advice(self) -> list[str]:
        """Return the meaning of the verdict and the next step; empty without a verdict."""
        scaling = self.scored[-1].scaling
        if not scaling:
            return []
        first, *others = in_words(scaling, GateSettings(self.options.margin))
        return [first.removeprefix(f"gate: {scaling.gate.verdict.upper()}. "), *others]

    @cached_property
    def growth(self) -> list[tuple[Round, ScoredRound, list[Interval | None]]]:
        """Each round, its labels scored, and the slope of each metric."""
        return [
            (each, scored, [scored.scaling.slope(metric) for metric in METRICS] if scored.scaling else [])
            for each, scored in zip(self.rounds.rounds, self.scored, strict=True)
        ]

    def slope_plots(self) -> list[Plot]:
        """Return a plot of the slopes for each metric."""
        plots = []
        for place, (metric, words) in enumerate(SHOWN.items()):
            rows = [
                (f"round {each.number}", "now" if each is self.now else "before", slopes[place])
                for each, _, slopes in self.growth
                if slopes
            ]
            plots.append(forest_plot(f"slope-{metric}", words, rows))
        return [plot for plot in plots if plot]

    @cached_property
    def drawn(self) -> list[tuple[Round, ScoredRound, str]]:
        """The latest round that could be scored and the one before it, with their styles."""
        scored = [pair for pair in zip(self.rounds.rounds, self.scored, strict=True) if pair[1].scaling]
        return [(*pair, "now" if pair[0] is self.now else "before") for pair in scored[-2:]]

    def score_plots(self) -> list[Plot]:
        """Return a plot against size for each metric."""
        plots = []
        for metric, words in SHOWN.items():
            series = [
                (f"round {each.number}", style, scored.scaling.scores[metric] if scored.scaling else [])
                for each, scored, style in self.drawn
            ]
            plots.append(scaling_plot(f"scaling-{metric}", words, series))
        return [plot for plot in plots if plot]

    def score_rows(self) -> list[tuple[str, int, list[Interval | None]]]:
        """Return the name, parameters and scores of each model; scores by metric, then by round."""
        columns = [
            {(model.rung, model.seed): value for model, value in scored.scaling.scores[metric]}
            for metric in METRICS
            for _, scored, _ in self.drawn
            if scored.scaling
        ]
        models = self.models.untouched
        return [
            (name_of(each, models), each.rung.params, [column.get((each.rung, each.seed)) for column in columns])
            for each in models
        ]

    def result(self) -> tuple[list[tuple[str, ...]], list[str]]:
        """Return the table of the tuned models and the baselines, and its footnotes; empty before evaluate ran."""
        if not self.options.scores.exists():
            return [], []
        scores = read_metrics(self.options.scores)
        return model_rows(scores), list(footnotes(scores))

    def quoted(self) -> dict[str, dict[str, Any]]:
        """Return the questions with the largest effects, by id; none if texts are left out."""
        ids = [each.change.item_id for each in self.moves.strongest]
        return read_texts(self.options.questions, ids) if self.options.texts else {}

    def answers_of(self, item_id: str) -> list[tuple[int, list[tuple[str, str]]]]:
        """Return each round that asked about an item, with everybody's answers."""
        return list(answers_of(self.rounds.rounds, item_id))

    def torn(self) -> Iterator[tuple[Path, str]]:
        """Yield the file and line of each truncated answer."""
        for path, _, line in (place.rpartition(":") for place in self.rounds.torn):
            yield Path(path), line

    def command(self) -> str:
        """Return the command line that reproduces the page."""
        paths = ("annotations", "questions", "labelled", "bases", "vanilla", "tuned", "scores")
        values = [("round", str(self.now.number))]
        values += [(name, shown_path(getattr(self.options, name))) for name in paths]
        values += [("rung", key) for key in self.options.keys]
        values += [("margin", str(self.options.margin))]
        words = [f"--{name} {shlex.quote(value)}" for name, value in values]
        return " ".join(["chatladder report", *words, *([] if self.options.texts else ["--no-texts"])])

    def inputs(self) -> Iterator[Path]:
        """Yield every file that was read."""
        options, number = self.options, self.now.number
        review = options.annotations / f"round_{number}" / FILE
        yield options.questions
        yield from (path for path in (options.labelled, options.scores) if path.exists())
        yield from log_files(options.annotations, number)
        yield from adjudication_files(options.annotations, number)
        yield from (path for path in (review,) if path.exists())
        for rung in self.models.ladder.rungs():
            yield options.bases / rung.key / "rung.json"
            yield options.vanilla / f"{rung.key}.parquet"
        for key in self.tuned.predictions:
            yield options.tuned / f"{key}.parquet"


def build(options: Options, number: int) -> dict[str, Any]:
    """Return the values that the template shows.

    Args:
        options: The options of the command.
        number: The round.

    Raises:
        DataError: If an input cannot be used.
    """
    asked = read_asked(options.questions)
    rounds = read_rounds(options.annotations, number, asked.ids)
    labels = [each.labels() for each in rounds.rounds]
    keys = options.keys or default_rungs(options.bases)
    # Models need predictions for all items that any round labels, so that every round is scored on all of its labels.
    labelled = {item_id for each in labels for item_id in each}
    reviews = read_reviews(options.annotations, number)
    questions = pa.table({"item_id": asked.ids, "conversation": asked.conversations})
    sets = label_sets_of(label_sets(questions, rounds.logs, reviews))
    labelled |= {item_id for each in sets for item_id in each.item_ids}
    models = read_models(options.bases, options.vanilla, keys, [each for each in asked.ids if each in labelled])
    settings = GateSettings(options.margin)
    splits, stale = read_splits(options.labelled, labels[-1])
    tuned = read_tuned(options.tuned, keys, labels[-1], splits)
    changed = changes(rounds.rounds[-2], rounds.rounds[-1], asked.ids) if len(labels) > 1 else []
    report = Report(
        options=replace(options, keys=tuple(keys)),
        rounds=rounds,
        asked=asked,
        models=models,
        tuned=tuned,
        scored=[
            score(asked, scored_labels(check_verdicts(rounds.logs, reviews, each.number)), models, settings)
            for each in rounds.rounds
        ],
        compared=compare_sets(sets, models),
        moves=moves_of(labels[-1], changed, models, tuned),
        stale=stale,
    )
    review = flips_by_round(options.annotations, number, rounds.logs).get(number)
    return {
        "report": report,
        "labelled": Counter(labels[-1].values()),
        "labels": len(labels[-1]),
        "changed": Counter(change.kind() for change in changed),
        "review": review,
        "kinds": KINDS,
        "scored": [TASK.kinds[name] for name in SCORED],
        "flips_to": _flips_to,
        "short": "F1" if SHORT[0] == "f1" else SHORT[0],
        "versions": versions(),
        "hashes": hashes(report.inputs()),
    }


def _flips_to(counts: Mapping[str, Any], name: str) -> int:
    """Return the number of labels that a review changed to ``name``, from its counts by direction."""
    return sum(int(counts[f"{other}_to_{name}"]) for other in SCORED if other != name)


def compare_sets(sets: Sequence[LabelSets], models: Models) -> list[str]:
    """Return comparisons of label sets under the untouched models, a line per pair; none without models."""
    answers = [model.answers for model in models.untouched]
    comparisons = zip(sets, compare_under(sets, answers, models.rows), strict=False)
    return [line for pair, each in comparisons for line in compared_in_words(pair.names, {UNTOUCHED: each})]


def read_splits(labelled: Path, labels: Mapping[str, str]) -> tuple[dict[str, str], int | None]:
    """Return the split of each labelled question, and the number of them whose label differs from the answers.

    Returns:
        An empty mapping and None, if there is no such file yet.
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


def read_texts(questions: Path, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of some questions, by id.

    Raises:
        DataError: If the file is damaged.
    """
    wanted = pa.array(item_ids, pa.string())
    parts = (part.filter(pc.is_in(part["item_id"], value_set=wanted)) for part in Rows(questions, QUESTIONS).parts())
    return {row["item_id"]: row for part in parts for row in part.to_pylist()}
