"""Show turns that were picked as questions or left out, with their scores, and mark them by hand.

Example:
    chatladder questions --rejected --sample 50
    chatladder questions --sample 100 --mark data/marks/me.jsonl
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, OutputFile, example, printable, stoppable
from chatladder.io.files import read_jsonl, refuse_rounds
from chatladder.io.options import options_of, setting
from chatladder.io.rows import QUESTIONS, SCORES, TURNS, Rows
from chatladder.judges import SCORES_FILE

#: Turns shown before each one.
BEFORE = 3
ANSWERS = {"y": True, "n": False}


@dataclass(frozen=True)
class ShowOptions:
    """The options of questions."""

    rejected: bool = setting("Only turns that were left out.", default=False)
    picked: bool = setting("Only turns that were picked.", default=False)
    sample: int = setting("Number of turns to draw at random.", least=1, default=50)
    seed: int = setting("Seed of the draw.", default=0)
    mark: Path | None = setting(
        "Ask about each turn, without its scores, and write the answers to this file.", type=OutputFile, default=None
    )
    turns: Path = setting("Turns (parquet).", type=InputFile, default=Path("data/turns.parquet"))
    questions: Path = setting("Picked questions (parquet).", type=InputFile, default=Path("data/questions.parquet"))
    scores: Path = setting("Folder of the judges' scores.", type=InputFolder, default=Path("data/scores"))


class Shown(NamedTuple):
    """A turn to show."""

    picked: bool
    weight: float  # turns that it stands for
    turns: list[dict[str, Any]]  # up to BEFORE turns of its group before it, and itself

    @property
    def turn_id(self) -> str:
        """Id of the turn itself."""
        return str(self.turns[-1]["turn_id"])


def sample(
    turns: Rows, picked: set[str], kinds: tuple[bool, ...], size: int, seed: int
) -> dict[int, tuple[bool, float]]:
    """Draw text turns at random, equally many of each kind.

    Args:
        turns: Rows of ``TURNS``.
        picked: Ids of the turns that are questions.
        kinds: True for turns that were picked, False for turns that were left out; one or both.
        size: The number of turns in all.
        seed: The same seed draws the same turns.

    Returns:
        Position of each drawn turn -> whether it was picked, and the number of turns of its kind that it stands for.
    """
    ids = pa.array(sorted(picked), pa.string())
    found: dict[bool, list[np.ndarray]] = {kind: [] for kind in kinds}
    start = 0
    for part in turns.parts(["turn_id", "kind"]):
        text = pc.equal(part["kind"], "text").to_numpy()
        chosen = pc.is_in(part["turn_id"], value_set=ids).to_numpy()
        for kind, positions in found.items():
            positions.append(start + np.flatnonzero(text & (chosen == kind)))
        start += part.num_rows
    generator = np.random.default_rng(seed)
    drawn: dict[int, tuple[bool, float]] = {}
    for number, (kind, positions) in enumerate(found.items()):
        among = np.concatenate([*positions, np.zeros(0, np.int64)])
        wanted = min(len(among), (size + number) // len(kinds))
        for position in generator.choice(among, wanted, replace=False).tolist():
            drawn[position] = (kind, round(len(among) / wanted, 4))
    return drawn


def show(turns: Rows, drawn: dict[int, tuple[bool, float]]) -> Iterator[Shown]:
    """Yield the drawn turns in the order of the chat, with the turns before them."""
    wanted = np.array(sorted(drawn), np.int64)
    tail = TURNS.empty_table()
    start = 0
    for part in turns.parts():
        rows = pa.concat_tables([tail, part])
        for position in wanted[(wanted >= start) & (wanted < start + part.num_rows)].tolist():
            row = position - start + tail.num_rows
            some = rows.slice(max(0, row - BEFORE), min(row, BEFORE) + 1).to_pylist()
            group = some[-1]["group"]
            kind, weight = drawn[position]
            yield Shown(kind, weight, [turn for turn in some if turn["group"] == group])
        start += part.num_rows
        tail = rows.slice(max(0, rows.num_rows - BEFORE)).combine_chunks()


def scores_of(turn_ids: list[str], scores: Rows) -> dict[str, float]:
    """Return one judge's scores of some turns, by turn id.

    Raises:
        DataError: If a turn has no score.
    """
    wanted = pa.array(turn_ids, pa.string())
    found: dict[str, float] = {}
    for part in scores.parts():
        rows = part.filter(pc.is_in(part["turn_id"], value_set=wanted))
        found.update(zip(rows["turn_id"].to_pylist(), rows["score"].to_pylist(), strict=True))
    if len(found) < len(set(turn_ids)):
        raise DataError(f"{scores.path}: expected a score of every text turn; some have none. Score the turns again.")
    return found


def _lines(shown: Shown) -> Iterator[str]:
    """Yield the lines that show a turn: earlier turns indented, the turn itself after ">"."""
    for turn in shown.turns:
        sign = ">" if turn is shown.turns[-1] else " "
        text = turn["text"] if turn["kind"] == "text" else f"[{turn['kind']}] {turn['text'] or ''}"
        for number, line in enumerate(text.split("\n")):
            yield f"{sign} {turn['sender'] if not number else '':9} {printable(line)}"


def _marked(path: Path) -> set[str]:
    try:
        return {row["turn_id"] for _, row in read_jsonl(path)} if path.exists() else set()
    except (DataError, KeyError) as error:
        raise DataError(f"{path}: expected rows with a turn_id; the file is damaged. Repair or move it.") from error


def _mark(path: Path, all_shown: list[Shown]) -> int:
    """Ask about each turn and append the answers, each one safe on disk before the next is asked."""
    refuse_rounds(path)
    known = _marked(path)
    todo = [shown for shown in all_shown if shown.turn_id not in known]
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as out:
        for number, shown in enumerate(todo, start=1):
            click.echo("\n" + "\n".join(_lines(shown)))
            question = f"[{number}/{len(todo)}] does it ask something? y, n, s to skip, q to stop"
            answer = click.prompt(question, type=click.Choice([*ANSWERS, "s", "q"]), show_choices=False)
            if answer == "q":
                break
            if answer in ANSWERS:
                row = {"turn_id": shown.turn_id, "question": ANSWERS[answer], "weight": shown.weight}
                out.write(json.dumps(row) + "\n")
                out.flush()
                os.fsync(out.fileno())
                count += 1
    return count


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(ShowOptions, "options")
def questions_command(options: ShowOptions) -> None:
    """Show turns that were picked as questions or left out, to check the filter.

    With --mark it asks about each turn; metrics then show precision and recall on the answers (see data/marks).
    """
    parts = Rows(options.questions, QUESTIONS).parts(["turn_id"])
    picked = {turn_id for part in parts for turn_id in part["turn_id"].to_pylist()}
    judges = {path.parent.name: Rows(path, SCORES) for path in sorted(options.scores.glob(f"*/{SCORES_FILE}"))}
    kinds = (True, False) if options.picked == options.rejected else (options.picked,)
    rows = Rows(options.turns, TURNS)
    all_shown = list(show(rows, sample(rows, picked, kinds, options.sample, options.seed)))
    if options.mark:
        # Shuffled, so that the order gives nothing away.
        order = np.random.default_rng(options.seed).permutation(len(all_shown))
        with stoppable(f"Every answer is in {options.mark}; the same command goes on."):
            count = _mark(options.mark, [all_shown[number] for number in order])
        click.echo(f'{options.mark}: {count:,} answers added. "dvc repro" turns them into precision and recall.')
        return
    known = {name: scores_of([shown.turn_id for shown in all_shown], each) for name, each in judges.items()}
    for shown in all_shown:
        listed = ", ".join(f"{name} {each[shown.turn_id]:.1f}" for name, each in known.items())
        click.echo(f"{shown.turn_id} {'picked' if shown.picked else 'left out'}: {listed}")
        click.echo("\n".join(_lines(shown)) + "\n")


if __name__ == "__main__":
    questions_command()
