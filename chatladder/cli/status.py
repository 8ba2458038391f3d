"""Say where the project stands: what it holds, what is stale, and what to do next, in ten lines or fewer.

Example:
    chatladder status

It reads the files of the project and asks DVC what has changed; nothing is run or written.
"""

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from chatladder.chat.file_names import MEDIA, is_note
from chatladder.evaluation.above import not_above
from chatladder.io.code import other_parts
from chatladder.io.console import SETTINGS, DataError, example, printable, shortened
from chatladder.io.files import read_json
from chatladder.vocabulary import KINDS, SCORED

#: Timeout for DVC in seconds: it reads every file again that changed since its last run.
PATIENCE = 300
VERDICTS = ("pass", "fail", "inconclusive")
#: The stages from the exports to the questions; all others need labels or models.
QUESTION_STAGES = ("ingest", "merge", "score", "pick_questions")
#: Labels outside the test with which a model of 270M was level with the classifiers of words, and above them, on the
#: one real chat that was measured (benchmarks/real/results/learning.md); one label in three of that chat was "needed".
LEVEL, ABOVE, THERE = 522, 786, 3
#: Labels outside the test, beside so many of another chat, with which a model of 0.5B was above them.
BESIDE = ((52, 664), (122, 335))
#: The placeholder in commands for the reader's name.
NAME = "NAME"


class Worker(NamedTuple):
    """One annotator or reviewer of the current round, with the numbers of items answered and assigned."""

    name: str
    answered: int
    items: int


class Labels(NamedTuple):
    """The number of labelled questions.

    Attributes:
        outside: Those that answers decide outside the test, by label, in the order of ``SCORED``.
        test: Those in the test.
        elsewhere: Those of other chats, which models learn from too.
    """

    outside: tuple[int, ...]
    test: int
    elsewhere: int = 0

    @property
    def worth(self) -> int:
        """The number of labels to compare with ``LEVEL`` and ``ABOVE``, limited by the rarest label."""
        return min(sum(self.outside), THERE * min(self.outside))

    @property
    def are_helped(self) -> bool:
        """True if there are as many, here and of other chats, as in one of the pairs ``BESIDE``."""
        return any(sum(self.outside) >= own and self.elsewhere >= others for own, others in BESIDE)


class Tuned(NamedTuple):
    """The largest tuned rung, its macro-F1 on the test items, and the baseline that it is not credibly above."""

    rung: str
    macro_f1: float
    not_above: str | None = None


class Todo(NamedTuple):
    """The next thing to do, a command line or an action in words, and the reason."""

    command: str
    why: str


@dataclass(frozen=True)
class RoundAnswers:
    """The work of the annotators.

    Attributes:
        answered: The latest round in which anybody answered anything; 0 if none.
        round: The round that annotators are in.
        is_review: True if that round reviews what models suspect, and a random part.
        workers: The people who take part in it.
        undecided: Questions that annotators leave open and nobody has settled.
    """

    answered: int = 0
    round: int = 1
    is_review: bool = False
    workers: tuple[Worker, ...] = ()
    undecided: int = 0


@dataclass(frozen=True)
class Staleness:
    """The stale stages, as DVC reports them.

    Attributes:
        stale: Names of stages that dvc repro would run; None if DVC does not answer.
        trouble: The reason why DVC does not answer.
        busy: True if that is because another DVC command is running.
    """

    stale: tuple[str, ...] | None = ()
    trouble: str = ""
    busy: bool = False


@dataclass(frozen=True)
class Standing(RoundAnswers, Staleness):
    """The state of a project.

    Attributes:
        exports: The number of files below data/raw that are read as exports.
        private: The number of exports that are not the demo.
        absent: The number of exports that DVC tracks and that are missing in the folder.
        has_secret: True if there is a key of the pseudonyms.
        questions: The number of questions; None if they were not picked yet.
        counted: The number of rounds that count, from params.yaml; None if it does not say.
        gate: Verdict of the last run: pass, fail or inconclusive; None if there is none.
        items_needed: The number of labels in all that an inconclusive verdict needs; None if unknown.
        tuned: The largest tuned rung of the last run.
        exported: True if that rung was exported.
        other_code: The difference of its code from the installed chatladder; empty if there is none.
        labels: The labels that the answers give; None if unknown.
    """

    exports: int = 0
    private: int = 0
    absent: int = 0
    has_secret: bool = False
    questions: int | None = None
    counted: int | None = None
    gate: str | None = None
    items_needed: int | None = None
    tuned: Tuned | None = None
    exported: bool = False
    other_code: str = ""
    labels: Labels | None = None

    @property
    def is_above(self) -> bool:
        """True if the largest tuned rung is credibly above the best baseline, by the present labels."""
        return self.tuned is not None and not self.tuned.not_above and self.stale == ()

    def is_stale(self, *stages: str) -> bool:
        """Return True if one of these stages is stale, in any of its instances."""
        return any(name.partition("@")[0] in stages for name in self.stale or ())


def next_step(standing: Standing) -> Todo:
    """Return the next useful step: an upgrade, then people's input, the machine's work, and improvements."""
    if standing.other_code:
        return Todo("chatladder upgrade", standing.other_code)
    return _chat(standing) or _labels(standing) or _run(standing) or _after(standing)


def _chat(now: Standing) -> Todo | None:
    """Return the next step from nothing to questions."""
    if now.absent and not (now.exports and now.busy):
        # No stage runs until they are back, whatever else is there.
        return Todo("dvc pull", f"DVC keeps {now.absent:,} of the exports, which are not in data/raw")
    if not now.exports:
        return Todo("cp EXPORT data/raw/", "there is no export of a chat yet")
    if now.private and not now.has_secret:
        return Todo("chatladder secret", "a chat of your own requires a key of your own")
    if now.busy:
        return None  # a lock is no reason to stop annotation
    if now.questions is None:
        return Todo("dvc repro" if now.answered else "dvc repro pick_questions", "no questions are picked yet")
    if now.is_stale(*QUESTION_STAGES) and not _is_annotated(now):
        return Todo("dvc repro pick_questions", "the input of the questions has changed")
    if not now.questions:
        return Todo("chatladder questions --rejected", "no turn was picked as a question: see why, lower a threshold")
    return None


def _is_annotated(now: Standing) -> bool:
    return bool(now.answered) and all(each.answered >= each.items for each in now.workers)


def _is_told(now: Standing) -> bool:
    """Return True if the answers so far are enough, or were for the last run: missing ones then hold nobody up."""
    if now.gate in ("pass", "fail") and now.stale == ():
        return True
    enough = now.labels is not None and (now.labels.worth >= ABOVE or now.labels.are_helped)
    return (enough or now.is_above) and not now.is_review


def _labels(now: Standing) -> Todo | None:
    """Return the next step from questions to answers that count."""
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
        return Todo(
            f"set annotation.round to {now.answered} in params.yaml, then dvc repro",
            f"it says {now.counted}, and only {now.answered} {'has' if now.answered == 1 else 'have'} answers",
        )
    settles = now.is_stale("label") or (now.counted or 0) < now.answered
    if now.undecided and settles:
        return _adjudicate(now, "settle them before models are trained, or run dvc repro without them")
    if now.counted is not None and now.counted < now.answered:
        return Todo(
            f"set annotation.round to {now.answered} in params.yaml, then dvc repro",
            f"round {now.answered} is answered and does not count yet",
        )
    return None


def _work(now: Standing, name: str, why: str) -> Todo:
    command = "review" if now.is_review else f"annotate --round {now.round}"
    return Todo(f"chatladder {command} --annotator {shlex.quote(name)}", why)


def _adjudicate(now: Standing, hint: str) -> Todo:
    return Todo(f"chatladder adjudicate --adjudicator {NAME}", f"annotators leave {now.undecided:,} undecided: {hint}")


def _run(now: Standing) -> Todo | None:
    """Return the next step that the machine can take."""
    if now.busy:
        return Todo("chatladder status", "another DVC command is running: ask again once it is done")
    if now.stale is None:
        return Todo("chatladder doctor", "DVC does not report what is stale; doctor may say why")
    if now.stale:
        return Todo("dvc repro", f"stale: {stages_in_words(now.stale, most=3)}, and what depends on them")
    if now.gate is None or now.tuned is None:
        return Todo("dvc repro", "the labels were not checked with the models yet")
    return None


def _after(now: Standing) -> Todo:
    """Return the step that improves a result that is up to date, or uses it."""
    review = f"chatladder review --annotator {NAME}"
    rung = shlex.quote(now.tuned.rung if now.tuned else NAME)
    use = f"chatladder resolve CHAT --rung {rung}"
    if now.gate == "fail":
        return Todo(review, "larger models agree less with the labels: review those that are probably wrong")
    if now.gate == "inconclusive" and now.is_above:
        return Todo(use, "the tuned model is above the baselines: answer new messages (bots: chatladder serve)")
    if now.undecided:
        return _adjudicate(now, "each settled one adds a label")
    if now.gate == "inconclusive":
        more = f" (about {now.items_needed:,} would do)" if now.items_needed else ""
        return Todo(
            review, f"too few labels or models to tell whether they are good{more}: review them, or add exports"
        )
    if now.exported:
        return Todo(use, "all is done: answer new messages")
    return Todo(f"chatladder export {rung} --out exported/{rung}", "the gate passes and nothing is stale")


def stages_in_words(names: Sequence[str], most: int = 6) -> str:
    """Format stages in their order, with the instances of one counted: ``label, train (4)``."""
    counts = Counter(name.partition("@")[0] if "/" not in name else name for name in names)
    words = [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def check_project(root: Path) -> None:
    """Refuse a folder that holds no project.

    Raises:
        DataError: If it holds none.
    """
    for name in ("dvc.yaml", "params.yaml"):
        if not (root / name).is_file():
            raise DataError(
                f"{root / name}: expected a project of chatladder here, got no such file. Run in the project's "
                "folder, or begin one with chatladder init FOLDER."
            )


def is_clone(root: Path) -> bool:
    """Return True if a folder is a clone of chatladder itself, whose stages depend on the code in it."""
    return (root / "chatladder").is_dir() and (root / "CONTRIBUTING.md").is_file()


def other_code(root: Path) -> str:
    """Return how the code of a project differs from the installed chatladder; empty if it does not."""
    if (root / "chatladder").is_dir() and not is_clone(root):
        return "the project has a copy of chatladder's code, made by an earlier release"
    other = other_parts(root)
    return f"the installed chatladder differs from the project's: {', '.join(other)}" if other else ""


def gather(root: Path) -> Standing:
    """Return the state of the project in a folder.

    Raises:
        DataError: If the folder is not a project, or one of its files is damaged.
    """
    from chatladder.privacy.secret import KEY_FILE, local_key

    check_project(root)
    # DVC answers from a process of its own, and takes longest; the rest is read meanwhile.
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(staleness, root)
        ids = question_ids(root / "data" / "questions.parquet")
        files, absent = exports(root / "data" / "raw")
        answers = answers_of(root / "data" / "annotations", ids or [])
        gate, items_needed = verdict(root / "metrics" / "scaling.json")
        tuned = largest_tuned(root / "metrics" / "models.json")
        labels = count_labels(root, answers.answered) if ids else None
        other = other_code(root)
    return Standing(
        exports=len(files),
        private=sum(not path.name.startswith("demo") for path in files),
        absent=absent,
        has_secret=local_key(root / KEY_FILE) is not None,
        questions=None if ids is None else len(ids),
        counted=counted_rounds(root / "params.yaml"),
        **vars(answers),
        gate=gate,
        items_needed=items_needed,
        tuned=tuned,
        **vars(asked.result()),
        exported=tuned is not None and (root / "exported" / tuned.rung).is_dir(),
        other_code=other,
        labels=labels,
    )


def exports(raw: Path) -> tuple[list[Path], int]:
    """Return the files that are read as exports, and the number of exports that DVC tracks and that are missing."""
    hidden = {path for path in raw.rglob("*") if path.name.startswith(".") or path.name == "__MACOSX"}
    paths = [path for path in sorted(raw.rglob("*")) if not hidden & {path, *path.parents}]
    files = [path for path in paths if path.is_file() and not is_note(path.name) and not MEDIA.fullmatch(path.suffix)]
    absent = sum(path.suffix == ".dvc" and path.is_file() and not path.with_suffix("").exists() for path in paths)
    return files, absent


def question_ids(path: Path) -> list[str] | None:
    """Return the ids of the questions, in the order of the chat; None if they were not picked yet.

    Raises:
        DataError: If the file is not a parquet file of questions.
    """
    if not path.exists():
        return None
    from chatladder.io.rows import QUESTIONS, Rows

    parts = Rows(path, QUESTIONS).parts(["item_id"])
    return [item_id for part in parts for item_id in part["item_id"].to_pylist()]


def counted_rounds(params: Path) -> int | None:
    """Return ``annotation.round`` of params.yaml, or None if it is not a number.

    Raises:
        DataError: If the file is not YAML.
    """
    from chatladder.io.params import read_yaml

    annotation = read_yaml(params).get("annotation")
    number = annotation.get("round") if isinstance(annotation, dict) else None
    return number if type(number) is int else None


def answers_of(annotations: Path, ids: list[str]) -> RoundAnswers:
    """Return the progress of the current round's annotators, and the number of questions that all rounds leave open.

    Args:
        annotations: Folder of the rounds.
        ids: Ids of the questions; answers about others do not count.

    Raises:
        DataError: If a log, an assignment or a review is damaged.
    """
    if not annotations.is_dir():
        return RoundAnswers()
    from chatladder.cli.annotate.round_records import begun_rounds, read_sample
    from chatladder.labels.log import replay
    from chatladder.labels.review import read_review
    from chatladder.labels.rounds import latest_answered, log_files, log_path

    answered, number = latest_answered(annotations), begun_rounds(annotations)[-1]
    folder = annotations / f"round_{number}"
    review, sample = read_review(folder), read_sample(folder)
    names = {path.stem for path in folder.glob("[!.]*.jsonl")}
    sharing = _sharing(folder)
    known = set(ids)
    paths = {name: log_path(annotations, number, name) for name in sorted(names | {*(sharing[0] if sharing else ())})}
    done = {name: known & replay(path).answers.keys() for name, path in paths.items()}
    if review or sample:
        wanted = known.intersection(review.items if review else sample or ())
    elif number == 1:
        wanted = known
    else:
        # Only whoever began a later round knows its list of items: the answered ones are what is known of it.
        wanted = set[str]().union(*done.values()) or known
    workers = _workers(wanted, done, sharing)
    counting = log_files(annotations, answered) if answered else []
    return RoundAnswers(
        answered,
        number,
        review is not None and review.is_queue,
        workers,
        _undecided(annotations, answered, known, counting),
    )


def _sharing(folder: Path) -> tuple[list[str], int] | None:
    from chatladder.cli.annotate.round_records import settle_assignment

    return settle_assignment(folder) if folder.is_dir() else None


def _workers(wanted: set[str], done: dict[str, set[str]], sharing: tuple[list[str], int] | None) -> tuple[Worker, ...]:
    from chatladder.cli.annotate.round_records import assigned

    if sharing is None:
        return tuple(Worker(name, len(items & wanted), len(wanted)) for name, items in done.items())
    # People who answered without being named have no share, and hold nobody up.
    given = Counter(name for item_id in wanted for name in assigned(item_id, *sharing))
    answered = Counter(
        name for name in sharing[0] for item_id in done[name] & wanted if name in assigned(item_id, *sharing)
    )
    return tuple(Worker(name, answered[name], given[name]) for name in sharing[0])


def _undecided(annotations: Path, answered: int, known: set[str], counting: list[Path]) -> int:
    """Return the number of questions whose annotators tie or are unsure, without an adjudicator's ruling."""
    if not counting:
        return 0
    from chatladder.labels.verdicts import cases, read_answers

    *rows, _torn = read_answers(annotations, answered)
    disputed = cases(*([row.answer for row in placed if row.answer.item_id in known] for placed in rows))
    return sum(case.is_open and case.ruling is None for case in disputed.values())


def count_labels(root: Path, answered: int) -> Labels | None:
    """Return the labels from the answers of all rounds; None if params.yaml does not define the test.

    Raises:
        DataError: If a log, the questions or params.yaml are damaged.
    """
    import pyarrow as pa

    from chatladder.io.params import read_yaml
    from chatladder.io.rows import QUESTIONS, Rows, count_other_chats
    from chatladder.labels.answer import Label
    from chatladder.labels.folds import split_conversations
    from chatladder.labels.labelling import conversation_starts
    from chatladder.labels.verdicts import decide, read_answers

    elsewhere = count_other_chats(root / "data")
    if not answered:
        return Labels((0,) * len(SCORED), 0, elsewhere)
    parts = Rows(root / "data" / "questions.parquet", QUESTIONS).parts(["item_id", "conversation", "timestamp"])
    questions = pa.concat_tables(parts)
    try:
        split = read_yaml(root / "params.yaml")["split"]
        since = datetime.fromisoformat(str(split["test_from"])) if "test_from" in split else None
        since = since if since is None or since.tzinfo else since.replace(tzinfo=UTC)
        splits = split_conversations(
            conversation_starts(questions), validation=0.0, test=split["test"], test_from=since
        )
    except (KeyError, TypeError, ValueError, DataError):
        return None
    given, settled, _torn = read_answers(root / "data" / "annotations", answered)
    verdicts = decide([row.answer for row in given], [row.answer for row in settled])
    pairs = zip(questions["item_id"].to_pylist(), questions["conversation"].to_pylist(), strict=True)
    counts = Counter(
        (splits[where] == "test", verdicts[item_id].label) for item_id, where in pairs if item_id in verdicts
    )
    outside, test = (tuple(counts[is_test, Label(name)] for name in SCORED) for is_test in (False, True))
    return Labels(outside, sum(test), elsewhere)


def verdict(path: Path) -> tuple[str | None, int | None]:
    """Return the gate's verdict, and the number of labels that would decide it.

    Raises:
        DataError: If the file is not JSON, or holds no verdict.
    """
    if not path.exists():
        return None, None
    row = read_json(path)
    gate = row.get("gate") if isinstance(row, dict) else None
    if gate not in VERDICTS:
        raise DataError(
            f'{path}: expected "gate": {", ".join(VERDICTS)}, got something else. Run dvc repro check_scaling.'
        )
    needed = row.get("items_needed")
    return gate, needed if type(needed) is int else None


def largest_tuned(path: Path) -> Tuned | None:
    """Return the tuned rung with the most parameters; None if there is none.

    Raises:
        DataError: If the file is not JSON, or of another form.
    """
    if not path.exists():
        return None
    try:
        rungs = [(key, rung) for key, rung in read_json(path).items() if isinstance(rung, dict) and "tuned" in rung]
        scores = [(rung["params"], key, rung["tuned"]["macro_f1"]) for key, rung in rungs]
        _, key, macro_f1 = max(each for each in scores if None not in each)
        return Tuned(key, float(macro_f1), not_above(dict(rungs)[key]))
    except ValueError:
        return None
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected scores by rung, got something else. Run dvc repro evaluate.") from error


def staleness(root: Path) -> Staleness:
    """Ask DVC which stages it would run.

    DVC runs in another process, so that it neither prints into ours nor leaves a lock behind.
    """
    if not (root / ".dvc").is_dir():
        return Staleness(None, "there is no .dvc folder here: run dvc init")
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            timeout=PATIENCE,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        )
    except subprocess.TimeoutExpired:
        return Staleness(None, f"DVC took more than {PATIENCE} s: run dvc status")
    except OSError as error:
        return Staleness(None, f"DVC cannot be run: {error.strerror or error}")
    errors = done.stderr.decode("utf-8", "replace")
    if done.returncode:
        # A busy file names the process that locks it; "Unable to acquire lock" is about the whole repository.
        if "is busy" in errors or "acquire lock" in errors:
            return Staleness(None, "another DVC command is running", busy=True)
        reason = next((line for line in errors.splitlines() if line.startswith("ERROR:")), "no reason given")
        return Staleness(None, printable(reason.removeprefix("ERROR:").strip())[:100])
    try:
        changed = json.loads(done.stdout)
    except ValueError:
        changed = None
    if not isinstance(changed, dict):
        return Staleness(None, "DVC's answer has an unexpected form")
    return Staleness(tuple(changed))


#: The most annotators to name, and the most columns of one name.
MOST_NAMES, NAME_COLUMNS = 5, 24


def lines(now: Standing) -> list[str]:
    """Return lines about a project and its next step, without text of the chat or characters that move the cursor."""
    step = next_step(now)
    rows = [
        ("Exports", _exports(now)),
        ("Questions", "not picked yet" if now.questions is None else f"{now.questions:,}"),
        (f"Round {now.round}", _round(now)),
        ("Labels", _labels_in_words(now)),
        ("Gate", f"{now.gate}{_age(now)}" if now.gate else "not run yet"),
        ("Tuned", _tuned(now)),
        ("Stale", _stale(now)),
        ("Next", f"{step.command}   # {step.why}"),
    ]
    return [printable(f"{name + ':':<10} {text}") for name, text in rows]


def _exports(now: Standing) -> str:
    if not now.exports:
        return "none in data/raw" + (f", {now.absent:,} kept by DVC" if now.absent else "")
    note = "" if now.private else ", only the demo"
    return f"{now.exports:,} {'file' if now.exports == 1 else 'files'} in data/raw{note}"


def _round(now: Standing) -> str:
    parts = [(now.questions and _names(now.workers)) or _untold(now)]
    if now.is_review:
        parts.insert(0, "a review")
    if now.undecided:
        parts.append(f"{now.undecided:,} undecided")
    return "; ".join(parts)


def _labels_in_words(now: Standing) -> str:
    """Return the number of labels in words, whether it is enough, and the basis of that judgement."""
    labels = now.labels
    if not now.answered:
        return "none yet"
    if labels is None:
        return "not counted: dvc repro label says why" if now.questions else "not counted without questions"
    outside = sum(labels.outside)
    counts = f"{outside:,} outside the test, {labels.test:,} in it"
    if now.is_above:
        return f"{counts}: enough to go on, the tuned model is above the baselines"
    may_do = labels.worth >= LEVEL or labels.are_helped
    judged = "enough to go on" if labels.worth >= ABOVE else "may be enough" if may_do else "too few yet"
    if labels.elsewhere:
        basis = " and ".join(f"{own} beside {others} of another" for own, others in BESIDE)
        return f"{counts}, {labels.elsewhere:,} of other chats: {judged}; on two real chats {basis} were above words"
    if labels.worth < outside:
        rarest, words = min(zip(labels.outside, (KINDS[name].words for name in SCORED), strict=True))
        counts += f", worth {labels.worth:,} since {rarest:,} are {words}"
    return f"{counts}: {judged}; on one real chat {LEVEL} were level with words, {ABOVE} above"


def _untold(now: Standing) -> str:
    """Return whether anybody has answered, in words, if there are no questions to count by."""
    if now.answered < now.round:
        return "nobody has answered yet"
    return "answered; without questions the progress is unknown"


def _names(workers: Sequence[Worker]) -> str:
    # Whoever has most left comes first: the others may be left out.
    ordered = sorted(workers, key=lambda each: (each.answered - each.items, each.name))
    names = [
        f"{shortened(each.name, NAME_COLUMNS)} {each.answered:,} of {each.items:,}" for each in ordered[:MOST_NAMES]
    ]
    return ", ".join(names) + (f" and {len(workers) - MOST_NAMES} more" if len(workers) > MOST_NAMES else "")


def _age(now: Standing) -> str:
    """Return a mark for a figure of the last run if something has changed since."""
    if now.stale is None:
        return ", from the last completed run"
    return ", from an earlier run" if now.stale else ""


def _tuned(now: Standing) -> str:
    if now.tuned is None:
        return "not run yet"
    not_above = f", not above {now.tuned.not_above}" if now.tuned.not_above else ""
    return f"macro-F1 {now.tuned.macro_f1:.3f} of {shortened(now.tuned.rung, NAME_COLUMNS)}{not_above}{_age(now)}"


def _stale(now: Standing) -> str:
    if now.stale is None:
        return f"not known: {now.trouble}"
    return stages_in_words([shortened(name, NAME_COLUMNS) for name in now.stale]) or "nothing"


@click.command(
    name="status",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
def status_command() -> None:
    """Show the state of the project in this folder, its stale stages and the next step."""
    click.echo("\n".join(lines(gather(Path()))))


if __name__ == "__main__":
    status_command()
