"""The two chats for the analyses: questions, both readings, and models' answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.real.readings import READERS, read_labels, read_questions
from chatladder.evaluation.predictions import Predictions, read_predictions
from chatladder.evaluation.rewriting import mean_over
from chatladder.evaluation.rungs import read_named, read_rungs
from chatladder.evaluation.scores import Draws, Floats, Interval, bootstrap, interval
from chatladder.evaluation.word_baselines import Deals, boosted, cross_fitted, linear_features, logistic, tree_features
from chatladder.io.files import whole_file
from chatladder.io.params import read_yaml
from chatladder.io.rows import PREDICTIONS, read_rows
from chatladder.labels.answer import Label
from chatladder.vocabulary import POSITIVE, SCORED

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"
CHATS = ("ubuntu-cn", "ubuntu")
DRAWS = Draws(seed=0, draws=2000)

Labels = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Chat(NamedTuple):
    """One chat.

    Attributes:
        name: The chat's folder.
        rows: Rows of ``QUESTIONS``.
        readings: Each reader's labels, in the order of ``READERS``.
    """

    name: str
    rows: list[dict[str, Any]]
    readings: tuple[list[Label], list[Label]]

    @property
    def folder(self) -> Path:
        """The folder of the chat."""
        return ROOT / self.name

    def where(self, chosen: Sequence[bool] | Bools) -> "Chat":
        """Return the chat with only some of its questions."""
        places = np.flatnonzero(chosen)
        first, second = ([labels[place] for place in places] for labels in self.readings)
        return self._replace(rows=[self.rows[place] for place in places], readings=(first, second))

    @property
    def conversations(self) -> list[str]:
        """The conversation of each question."""
        return [row["conversation"] for row in self.rows]

    @property
    def item_ids(self) -> list[str]:
        """The id of each question."""
        return [row["item_id"] for row in self.rows]


def read_chat(name: str) -> Chat:
    """Return one chat."""
    folder = ROOT / name
    window = read_yaml(folder / "params.yaml")["import"]["window"]
    rows = read_questions(folder / "annotated" / "questions.jsonl", window, name).to_pylist()
    given = (read_labels(folder / "annotated" / f"{reader}.jsonl") for reader in READERS)
    first, second = ([labels[row["item_id"]] for row in rows] for labels in given)
    return Chat(name, rows, (first, second))


def needed(labels: Sequence[Label]) -> Labels:
    """Return 1 for needed and 0 for all other labels, shape ``(n,)``."""
    return np.array([label == POSITIVE for label in labels], dtype=np.int64)


def scored(labels: Sequence[Label]) -> Bools:
    """Return which labels are needed or not_needed, shape ``(n,)``."""
    return np.array([label in SCORED for label in labels])


def models_of(chat: Chat, kind: str) -> dict[str, Path]:
    """Return rung -> existing predictions, smallest first.

    Args:
        chat: The chat.
        kind: ``vanilla`` or ``out_of_fold``.
    """
    named = read_named(chat.folder / "params.yaml")
    paths = {rung: chat.folder / "predictions" / kind / f"{rung}.parquet" for rung in (*named.ladder, *named.served)}
    there = [rung for rung, path in paths.items() if path.exists() and (chat.folder / "rungs" / rung).exists()]
    return {rung.key: paths[rung.key] for rung in read_rungs(chat.folder / "rungs", there).ascending()}


def sizes_of(chat: Chat, rungs: Sequence[str]) -> dict[str, int]:
    """Return the number of parameters of some rungs."""
    return {rung.key: rung.params for rung in read_rungs(chat.folder / "rungs", list(rungs)).rungs()}


def answered(chat: Chat, models: Mapping[str, Path]) -> Bools:
    """Return which questions were answered by all of the models, shape ``(n,)``."""
    given = [set(read_rows(path, PREDICTIONS)["item_id"].to_pylist()) for path in models.values()]
    return np.array([all(item_id in ids for ids in given) for item_id in chat.item_ids])


def read_models(chat: Chat, models: Mapping[str, Path]) -> dict[str, Predictions]:
    """Return rung -> the answers of its first seed to the questions."""
    return {rung: read_predictions(path, chat.item_ids) for rung, path in models.items()}


def word_answers(chat: Chat, labels: Labels, *, repeats: int = 2) -> dict[str, Floats]:
    """Return the out-of-fold probability of label 1 by two classifiers of words, with folds of conversations."""
    deals = Deals(folds=5, repeats=repeats, seed=0)
    return {
        "line": cross_fitted(linear_features(chat.rows), labels, chat.conversations, logistic, deals),
        "trees": cross_fitted(tree_features(chat.rows, deals.seed), labels, chat.conversations, boosted, deals),
    }


def share(hits: Bools | Floats, of: Bools, conversations: Sequence[str]) -> Interval:
    """Return the share of ``of`` that are ``hits``, with its 95 % interval over conversations.

    Args:
        hits: Shape ``(n,)``; items outside ``of`` do not count.
        of: The items that count, shape ``(n,)``.
        conversations: The conversation of each item.
    """
    ratios = mean_over(hits.astype(np.float64), of, bootstrap(conversations, DRAWS))
    # A draw without an item that counts is undefined.
    return interval(ratios[~np.isnan(ratios)]) if of.any() else Interval(np.nan, np.nan, np.nan)


def in_brackets(value: Interval, form: str = ".3f") -> str:
    """Return an interval as ``.812 [.775, .846]``."""
    if np.isnan(value.value):
        return "-"
    if np.isnan(value.lo):
        return f"{value.value:{form}}"
    return f"{value.value:{form}} [{value.lo:{form}}, {value.hi:{form}}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, the first column to the left."""
    marks = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, marks, *rows))


def publish(name: str, title: str, parts: Sequence[str], arguments: str = "") -> None:
    """Write a result with its command, and print it.

    Args:
        name: The script, whose result has the same name.
        title: The headline.
        parts: Paragraphs and tables.
        arguments: The arguments of the command.
    """
    text = "\n\n".join([f"# {title}", f"    python -m benchmarks.real.{name} {arguments}".rstrip(), *parts])
    RESULTS.mkdir(exist_ok=True)
    with whole_file(RESULTS / f"{name}.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    click.echo(text)
