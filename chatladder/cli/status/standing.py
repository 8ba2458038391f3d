"""Where a project stands, and the step that this makes the next. Nothing here reads a file."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: The stages from the exports to the questions; all others need labels or models.
QUESTION_STAGES = ("ingest", "merge", "score", "pick_questions")
#: The stages that the gate's verdict does not come from, and those that the tuned scores do not.
NOT_BEFORE_GATE = frozenset(
    ["to_alpaca", "train", "predict_tuned", "out_of_fold", "word_baselines", "rank_labels", "evaluate", "summarize"]
)
NOT_BEFORE_TUNED = frozenset(
    ["predict_served", "out_of_fold", "word_baselines", "rank_labels", "check_scaling", "summarize"]
)
#: In commands, for what only the reader knows.
NAME = "NAME"


class Worker(NamedTuple):
    """One annotator or reviewer of the current round: items answered, of those that are theirs."""

    name: str
    answered: int
    items: int


class Tuned(NamedTuple):
    """The largest rung that was tuned, and its macro-F1 on the test items."""

    rung: str
    macro_f1: float


class Step(NamedTuple):
    """What to do next: a command line, or an action in words, and why."""

    command: str
    why: str


@dataclass(frozen=True)
class Standing:
    """What a project holds.

    Attributes:
        exports: Files below data/raw that are read as exports.
        private: How many of them are not the demo.
        absent: Exports that DVC keeps and that are not in the folder.
        has_secret: Whether there is a key of the pseudonyms.
        questions: How many there are; None where they were not picked yet.
        counted: How many rounds count, as params.yaml says; None if it does not.
        answered: The latest round in which anybody answered anything; 0 if none.
        round: The round that annotators are in.
        is_review: Whether that round looks again at labels that are probably wrong.
        workers: Who takes part in it.
        undecided: Questions that annotators leave open and nobody has settled.
        gate: Verdict of the last run: pass, fail or inconclusive; None if there is none.
        more_items: Labels that an inconclusive verdict wants; None if unknown.
        tuned: Of the last run.
        stale: Names of stages that dvc repro would run, as DVC tells; None if it does not.
        trouble: Why DVC does not tell.
        busy: Whether that is because another DVC command runs.
        exported: Whether the largest tuned rung was exported.
    """

    exports: int = 0
    private: int = 0
    absent: int = 0
    has_secret: bool = False
    questions: int | None = None
    counted: int | None = None
    answered: int = 0
    round: int = 1
    is_review: bool = False
    workers: tuple[Worker, ...] = ()
    undecided: int = 0
    gate: str | None = None
    more_items: int | None = None
    tuned: Tuned | None = None
    stale: tuple[str, ...] | None = ()
    trouble: str = ""
    busy: bool = False
    exported: bool = False

    def is_outdated(self, unrelated: frozenset[str]) -> bool:
        """Whether anything is stale but stages that do not matter to a figure."""
        return any(name.partition("@")[0] not in unrelated for name in self.stale or ())

    def is_stale(self, *stages: str) -> bool:
        """Whether one of these stages is stale, in any of its instances."""
        return any(name.partition("@")[0] in stages for name in self.stale or ())


def next_step(standing: Standing) -> Step:
    """The next useful step: what a person must give first, then what the machine can do, then what improves it."""
    return _chat(standing) or _labels(standing) or _run(standing) or _after(standing)


def _chat(now: Standing) -> Step | None:
    """From nothing to questions."""
    if now.absent and not (now.exports and now.busy):
        # No stage runs until they are back, whatever else is there.
        return Step("dvc pull", f"DVC keeps {now.absent:,} of the exports, which are not in data/raw")
    if not now.exports:
        return Step("cp EXPORT data/raw/", "there is no export of a chat yet")
    if now.private and not now.has_secret:
        return Step("chatladder secret", "a chat of your own is read only under a key of your own")
    if now.busy:
        return None  # a lock is no reason to stop who annotates
    if now.questions is None:
        return Step("dvc repro" if now.answered else "dvc repro pick_questions", "no questions are picked yet")
    if now.is_stale(*QUESTION_STAGES) and not _is_annotated(now):
        return Step("dvc repro pick_questions", "what the questions come from has changed")
    if not now.questions:
        return Step("chatladder questions --rejected", "no turn was picked as a question: see why, lower a threshold")
    return None


def _is_annotated(now: Standing) -> bool:
    return bool(now.answered) and all(each.answered >= each.items for each in now.workers)


def _is_told(now: Standing) -> bool:
    """Whether the answers so far were enough for the gate: then those that are missing hold nobody up."""
    return now.gate in ("pass", "fail") and now.stale == ()


def _labels(now: Standing) -> Step | None:
    """From questions to answers that count."""
    if not now.questions:
        return None
    for each in now.workers:
        if (each.answered < each.items and not _is_told(now)) or not now.answered:
            begun = f"{shlex.quote(each.name)} has {each.items - each.answered:,} of {each.items:,} questions left"
            return _work(now, each.name, begun)
    if not now.answered:
        return _work(now, NAME, f"{now.questions:,} questions wait for an answer")
    if now.is_review and not now.workers:
        return _work(now, NAME, "a review has begun, and nobody has answered yet")
    if now.counted is not None and now.counted > now.answered:
        return Step(
            f"set annotation.round to {now.answered} in params.yaml, then dvc repro",
            f"it says {now.counted}, and only {now.answered} {'has' if now.answered == 1 else 'have'} answers",
        )
    settles = now.is_stale("label") or (now.counted or 0) < now.answered
    if now.undecided and settles:
        return _adjudicate(now, "settle them before models are trained, or run dvc repro without them")
    if now.counted is not None and now.counted < now.answered:
        return Step(
            f"set annotation.round to {now.answered} in params.yaml, then dvc repro",
            f"round {now.answered} is answered and does not count yet",
        )
    return None


def _work(now: Standing, name: str, why: str) -> Step:
    command = "review" if now.is_review else f"annotate --round {now.round}"
    return Step(f"chatladder {command} --annotator {shlex.quote(name)}", why)


def _adjudicate(now: Standing, hint: str) -> Step:
    return Step(f"chatladder adjudicate --adjudicator {NAME}", f"annotators leave {now.undecided:,} undecided: {hint}")


def _run(now: Standing) -> Step | None:
    """What the machine can do."""
    if now.busy:
        return Step("chatladder status", "another DVC command is running: ask again once it is done")
    if now.stale is None:
        return Step("chatladder doctor", "DVC does not say what is stale, and doctor may say what is amiss")
    if now.stale:
        return Step("dvc repro", f"stale: {stages_in_words(now.stale, most=3)}, and what depends on them")
    if now.gate is None or now.tuned is None:
        return Step("dvc repro", "the labels were not held against the models yet")
    return None


def _after(now: Standing) -> Step:
    """What improves a result that is up to date, or uses it."""
    review = f"chatladder review --annotator {NAME}"
    if now.gate == "fail":
        return Step(review, "a larger model agrees less with the labels: look again at those that are probably wrong")
    if now.undecided:
        return _adjudicate(now, "each one settled is a label more")
    if now.gate == "inconclusive":
        more = f" (about {now.more_items:,} more would)" if now.more_items else ""
        return Step(review, f"too few labels to tell whether they are good{more}: look again, or add exports")
    rung = shlex.quote(now.tuned.rung if now.tuned else NAME)
    if now.exported:
        return Step(f"chatladder resolve CHAT --rung {rung}", "all is done: answer new messages")
    return Step(f"chatladder export {rung} --out exported/{rung}", "the gate passes and nothing is stale")


def stages_in_words(names: Sequence[str], most: int = 6) -> str:
    """Stages in their order, the instances of one counted: ``label, train (4)``."""
    counts = Counter(name.partition("@")[0] if "/" not in name else name for name in names)
    words = [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
