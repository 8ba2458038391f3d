"""The labels: names, order, how the screen shows them. All else reads them here; prompts have their own words."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One label, or the answer "do not know" that a prompt offers beside them.

    Attributes:
        name: Its name in logs, rows and predictions.
        words: Its name in a sentence.
        screen: Its name on the annotator's screen.
        key: The key that gives it; "" where no annotator can.
        colour: The background of its name on the screen.
        is_answer: Whether a prompt offers it.
    """

    name: str
    words: str
    screen: str = ""
    key: str = ""
    colour: str = ""
    is_answer: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("needed", "needed", "needed 需要", "j", "#2f6fb5", is_answer=True),
        Kind("not_needed", "not needed", "not needed 不需要", "k", "#2d7d46", is_answer=True),
        Kind("not_a_question", "not a question", "not a question 非问题", "i", "#8a5a1c"),
        Kind("unsure", "unsure", "unsure 不确定", "u", "#6a4a8c"),
        Kind("unknown", "unknown", is_answer=True),
    )
}
#: What an annotator may answer, in the order of every table.
LABELS = tuple(kind.name for kind in KINDS.values() if kind.key)
#: What a model may answer, in the order of the three probabilities wherever they stand side by side.
ANSWERS = tuple(kind.name for kind in KINDS.values() if kind.is_answer)
#: The labels that are trained on and scored; precision, recall and F1 are of the first.
SCORED = tuple(name for name in LABELS if name in ANSWERS)
POSITIVE, NEGATIVE = SCORED


def likeliest(shares: Sequence[float]) -> str:
    """Return the answer that has the largest of the probabilities; "unknown" where two share it: a tie is no answer."""
    largest = max(shares)
    names = [name for name, share in zip(ANSWERS, shares, strict=True) if share == largest]
    return names[0] if len(names) == 1 else "unknown"
