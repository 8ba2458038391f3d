r"""Settle what annotators disagree about, in the terminal or in a browser: one key an answer.

Example:
    chatladder adjudicate --adjudicator chen
    chatladder adjudicate --adjudicator chen --round 2 --all --timezone Asia/Shanghai

It asks what the annotators of a question's latest round leave undecided, because they tie or most of them are unsure,
and shows who said what: adjudicating is not blind. What is settled goes to
data/annotations/round_N/adjudication/NAME.jsonl, N being the round that it settles; the annotators' answers stay as
they are. A later round's answers override an adjudication as they override earlier answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import Any

import click

from chatladder.cli.annotate.docket import Docket, chat_order, docket, still_to_annotate, told
from chatladder.cli.annotate.items import Items
from chatladder.cli.annotate.options import screen_options, web_options
from chatladder.cli.annotate.running import in_browser, launch, open_log, show, tell
from chatladder.cli.annotate.session import Session
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example
from chatladder.labels import guidelines as wording
from chatladder.labels.answer import Answer
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.rounds import adjudication_path, latest_answered
from chatladder.labels.verdicts import cases, read_answers, without_orphans


def adjudicate(options: Mapping[str, Any]) -> None:
    """Run the app on what the annotators leave undecided.

    Raises:
        DataError: If the questions, the logs or the rounds do not allow it.
    """
    annotations, adjudicator = options["annotations"], options["adjudicator"]
    last_round = options["round_number"] or latest_answered(annotations) or 1
    adjudication_path(annotations, last_round, adjudicator)  # a name that names no file is refused before anything
    items = Items(options["questions"])
    placed, adjudications, torn = read_answers(annotations, last_round)
    logs = without_orphans(placed, adjudications, items.ids, refuse_orphans=False)
    said = cases(logs.answers, logs.adjudications)
    found = {item_id: said[item_id] for item_id in chat_order(items.ids, items.conversations) if item_id in said}
    waiting = still_to_annotate(found, adjudicator, annotations)
    asked, notices = docket(found, adjudicator, waiting, everything=options["everything"])
    notices += told(
        [
            (logs.orphaned, "{:,} annotated items are no longer questions."),
            (len(torn), "{:,} logs end in a line cut short, which is left out."),
        ]
    )
    if asked:
        settle(options, items, Docket(asked, notices))
    else:
        tell(" ".join([_nothing(annotations, last_round, len(found), is_all=options["everything"]), *notices]))


def _nothing(annotations: Path, last_round: int, items: int, *, is_all: bool) -> str:
    rounds = "round 1" if last_round == 1 else f"rounds 1 to {last_round}"
    hint = "" if is_all else " --all asks also what a majority decided against others."
    return f"{annotations}: nothing to adjudicate among {items:,} items of {rounds}.{hint}"


def settle(options: Mapping[str, Any], items: Items, asked: Docket) -> None:
    """Show one item after another until the adjudicator leaves, and say how far they are.

    Raises:
        DataError: If a log cannot be written, or a round followed other guidelines.
    """
    annotations, adjudicator = options["annotations"], options["adjudicator"]
    guidelines = wording.read_guidelines(options["guidelines"])
    rounds = {item_id: case.round for item_id, case in asked.cases.items()}
    paths = {number: adjudication_path(annotations, number, adjudicator) for number in sorted(set(rounds.values()))}
    for number in paths:
        _check_guidelines(annotations / f"round_{number}", guidelines, options)
    with _open_logs(paths) as logs:
        given = own_history(list(paths.values()))
        history = [answer for answer in given if rounds.get(answer.item_id) == answer.round]
        session = Session(
            list(asked.cases),
            history,
            recorder(logs, rounds),
            annotator=adjudicator,
            round_number=max(paths),
            clock=_now,
        )
        cut = sum(log.set_aside > 0 for log in logs.values())
        notices = told(
            [
                (cut, "{:,} of your logs ended in a line cut short, which was moved aside; it is asked again."),
                (len(given) - len(history), "{:,} earlier answers of yours are about other items or rounds."),
            ]
        )
        title, said = f"{adjudicator} adjudicates", [*asked.notices, *notices]
        show(session, items, guidelines, options, said, title=title, cases=asked.cases)
    if not in_browser():
        done, total, *_ = session.progress()
        click.echo(f"{annotations}: {session.given:,} answers added, {done:,} of {total:,} items settled.")


def _now() -> str:
    # Finer than annotators' seconds: across logs, times alone tell which answer undo takes back.
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _check_guidelines(folder: Path, text: str, options: Mapping[str, Any]) -> None:
    # Of answers that came from elsewhere nobody knows the wording: an adjudication must not make one up.
    if (folder / wording.FILE).exists():
        allow_changed = options["allow_changed_guidelines"]
        wording.settle(folder, options["guidelines"], wording.version_of(text), allow_changed=allow_changed)


@contextmanager
def _open_logs(paths: Mapping[int, Path]) -> Iterator[dict[int, LogWriter]]:
    with ExitStack() as stack:
        yield {number: stack.enter_context(open_log(path)) for number, path in paths.items()}


def own_history(paths: Sequence[Path]) -> list[Answer]:
    """What an adjudicator answered and did not take back, in logs of several rounds, oldest first.

    Each log keeps its own order, whatever a clock that was set back says.
    """
    histories = [replay(path).history for path in paths]
    return list(merge(*histories, key=lambda answer: datetime.fromisoformat(answer.at)))


def recorder(logs: Mapping[int, LogWriter], rounds: Mapping[str, int]) -> Callable[[Answer], None]:
    """What puts an answer into the log of the round that it settles.

    Args:
        logs: By round.
        rounds: Item -> round that decides it.
    """

    def record(answer: Answer) -> None:
        number = rounds[answer.item_id]
        logs[number].append(replace(answer, round=number))

    return record


@click.command(context_settings=SETTINGS, epilog=example(__doc__), short_help="Settle what annotators disagree about.")
@click.option("--adjudicator", required=True, help="Your name; also the name of your logs.")
@click.option("--round", "round_number", type=click.IntRange(1), help="How many rounds count; all, unless given.")
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--annotations", type=InputFolder, default="data/annotations", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Also what a majority decided, or other adjudicators settled.")
@screen_options
@web_options
@click.pass_context
def adjudicate_command(context: click.Context, /, **_options: Any) -> None:
    """Settle what annotators disagree about, one key an answer."""
    launch(context, "chatladder.cli.annotate.adjudicate", adjudicate)


if __name__ == "__main__":
    adjudicate_command()
