"""Progress without a terminal: ``score: 120 of 300 (40 %), 4 min, about 6 min left``, once a minute."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

#: Seconds before the first line, and between lines.
MINUTE = 60


class LogLines(tqdm):  # type: ignore[misc]  # it comes without types
    """A tqdm bar that writes log lines and moves no cursor; work that ends within a minute writes none."""

    def __init__(self, items: Iterable[Any] | None, **options: Any) -> None:
        super().__init__(
            items, **{"unit": "", **options}, leave=False, delay=MINUTE, mininterval=MINUTE, miniters=0, position=0
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line; skip the last call, which would clear a terminal's bar."""
        if msg is not None:
            return
        minutes, done = self.format_dict["elapsed"] / 60, self.n - self.initial
        said = f"{self.desc}: {self.n:,}{self.unit}, {minutes:.0f} min"
        if self.total and done:
            left = minutes * (self.total - self.n) / done
            share = f"{self.n:,} of {self.total:,}{self.unit} ({100 * self.n / self.total:.0f} %)"
            rest = f"about {left:.0f} min left" if left > 1 else "less than a minute left"
            said = f"{self.desc}: {share}, {minutes:.0f} min, {rest}"
        print(said, file=self.fp, flush=True)
