"""Notice that a training has gone wrong while it still runs, and say what to try."""

from collections import deque

from chatladder.io.console import DataError
from chatladder.models.fitting import check_finite

#: Steps that are averaged: single batches scatter.
STEPS = 10
#: Nats a token: answers are then e times less likely than before anything was learned.
RISE = 1.0


class Watch:
    """Compares the loss with that of the first steps.

    Args:
        learning_rate: Of the run, for the advice.
    """

    def __init__(self, learning_rate: float) -> None:
        self._first: list[float] = []
        self._latest: deque[float] = deque(maxlen=STEPS)
        self.advice = (
            f"try learning_rate {learning_rate / 10:.1e}, a tenth of what it was (for a model of 4B, 2.0e-4 cost "
            "11.5 points of F1 and 2.0e-5 only 3.4: arXiv 2405.02817), or more warmup_steps"
        )

    def see(self, step: int, loss: float) -> None:
        """Take in the loss of a step, in nats a token.

        Raises:
            DataError: If it is no number, or has risen far above that of the first steps.
        """
        check_finite(loss, step, self.advice)
        self._latest.append(loss)
        if len(self._first) < STEPS:
            self._first.append(loss)
            return
        first, latest = sum(self._first) / STEPS, sum(self._latest) / STEPS
        if latest > first + RISE:
            raise DataError(
                f"step {step}: expected a loss near or below that of the first {STEPS} steps, {first:.2f} nats a "
                f"token, got {latest:.2f} on average over the last {STEPS}. The training diverged: {self.advice}."
            )
