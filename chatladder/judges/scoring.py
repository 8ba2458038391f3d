"""One judge's scores of all text turns, checked and written; `JUDGES` lists the judges that run locally."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from chatladder.distributed import Workers
from chatladder.io.console import DataError
from chatladder.io.files import whole_folder, write_json
from chatladder.io.options import complete
from chatladder.io.rows import SCORES, Rows, row_writer
from chatladder.judges import COUNTS_FILE, SCORES_FILE, llm, punctuation, rules, unaddressed
from chatladder.judges.texts import TextTurns

JUDGES = {"rules": rules, "punctuation": punctuation, "unaddressed": unaddressed}
#: The kind of judge that asks a model.
ENDPOINT = "endpoint"


def score_turns(
    turns: TextTurns, kind: str, given: Mapping[str, Any], echo: Callable[[str], None]
) -> tuple[np.ndarray, dict[str, int]]:
    """Score text turns.

    Args:
        turns: Text turns in the order of the chat.
        kind: A name in `JUDGES`, or `ENDPOINT`.
        given: Settings of the judge by name: ``seed``, or those of `llm.LlmSettings`.
        echo: Receives the lines that a judge of kind endpoint prints.

    Returns:
        A score from 0 to 10 for each turn, in order, shape ``(turns,)``; and their cost, the same in every run.

    Raises:
        DataError: If there is no text to score, or the judge cannot score it.
        click.UsageError: If the judge lacks a setting.
    """
    if not turns.num_rows:
        raise DataError("expected text turns to score, got none.")
    cost = {"scored": turns.num_rows}
    if kind == ENDPOINT:
        settings: llm.LlmSettings = complete(llm.LlmSettings, given, "a judge of kind endpoint")
        answers, did = llm.score(turns, settings, llm.CACHE_FOLDER, echo)
        cost |= {
            "texts": did.texts,
            "prompt_tokens": did.answer_prompt_tokens,
            "completion_tokens": did.answer_completion_tokens,
        }
    elif "seed" not in given:
        raise click.UsageError(f"a judge of kind {kind} needs --seed too.")
    else:
        answers = JUDGES[kind].score(turns, given["seed"])
    scores = np.asarray(answers, dtype=np.float32)
    # An answer out of range or missing is a bug in the judge; it must never pass as a score.
    if scores.shape != (turns.num_rows,) or not ((scores >= 0) & (scores <= 10)).all():
        raise ValueError(f"judge {kind}: expected {turns.num_rows} scores from 0 to 10.")
    return scores, cost


def write_scores(
    rows: Rows, kind: str, given: Mapping[str, Any], out: Path, pool: Workers, echo: Callable[[str], None]
) -> np.ndarray:
    """Score the text turns of a file and write a judge's folder: a row of ``SCORES`` for each, and their cost.

    Args:
        rows: Rows of ``TURNS``.
        kind: As for `score_turns`.
        given: As for `score_turns`.
        out: The folder to write.
        pool: The workers that read and score.
        echo: As for `score_turns`.

    Returns:
        The scores, shape ``(text turns,)``.

    Raises:
        DataError: As `score_turns`, or if the folder cannot be written.
    """
    turns = TextTurns(rows, pool)
    scores, cost = score_turns(turns, kind, given, echo)
    with whole_folder(out, SCORES_FILE, COUNTS_FILE) as folder:
        with row_writer(folder / SCORES_FILE, SCORES) as writer:
            start = 0
            for ids in turns.ids():
                writer.write(pa.table({"turn_id": ids, "score": scores[start : start + len(ids)]}, schema=SCORES))
                start += len(ids)
        write_json(folder / COUNTS_FILE, cost)
    return scores
