"""Training curves as dvclive writes them, for ``dvc plots`` to draw: one value a step, no clock, no machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvclive.live import Live

from chatladder.io.files import write_json

#: What a run was trained with, in its folder of curves: plots over experiments read it.
SETTINGS = "settings.json"


class _Files(Live):
    """dvclive's files alone: the pipeline tracks them as an out, so git and experiments are not its business."""

    def _init_dvc(self) -> None:
        # Would open the repository, and fail in one that has no commit yet.
        pass

    def _init_studio(self) -> None:
        # Would send each step to DVC Studio where an account is set up: data of a private chat stays here.
        self._studio_events_to_skip = {"start", "data", "done"}


class Curves:
    """Logs named values by step into ``<folder>/plots/metrics/<name>.tsv`` and the last ones into ``metrics.json``."""

    def __init__(self, folder: Path) -> None:
        self.live = _Files(str(folder), save_dvc_exp=False, dvcyaml=False)
        self.steps = 0
        self._last: dict[str, float] = {}

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Write what the run was trained with into ``settings.json``, in the order given."""
        write_json(Path(self.live.dir) / SETTINGS, dict(settings))

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *error: object) -> None:
        self.live.end()  # type: ignore[no-untyped-call]

    def __call__(self, name: str, step: int, value: float) -> None:
        """Add a value to a curve; steps count from 1."""
        self.live.step = self.steps = step
        self.live.log_metric(name, value)
        self._last[name] = value

    def last(self, name: str) -> float:
        """The latest value of a curve."""
        return self._last[name]
