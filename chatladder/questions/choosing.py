"""Which turns are questions, and for each of the others the first reason why not."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.judges.text import ADDRESSED
from chatladder.questions.verdicts import Verdict

#: Columns of the turns that ``choose`` and ``Verdicts.of`` look at.
LOOKED_AT = ("turn_id", "kind", "text")


def choose(part: pa.Table, verdict: Verdict, min_characters: int) -> tuple[np.ndarray, dict[str, int]]:
    """Which turns are questions, bool of shape ``(turns,)``; and how many are not, by reason."""
    reasons = {
        "not_text": pc.not_equal(part["kind"], "text").to_numpy(),
        "too_short": _characters(part) < min_characters,
        **verdict.below,
    }
    return count_reasons(reasons, part.num_rows)


def _characters(turns: pa.Table) -> np.ndarray:
    said = pc.replace_substring_regex(turns["text"].fill_null(""), ADDRESSED, "")
    lengths: np.ndarray = pc.utf8_length(pc.utf8_trim_whitespace(said)).to_numpy()
    return lengths


def count_reasons(reasons: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows no reason holds for, and for each reason the rows it is the first to hold for."""
    kept = np.ones(rows, bool)
    counts = {}
    for reason, holds in reasons.items():
        counts[reason] = int((kept & holds).sum())
        kept &= ~holds
    return kept, counts
