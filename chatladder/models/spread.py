"""Work with a rung's model, spread over workers: each loads the base for itself from the project's folder.

Prompts are batched by length over all of them before they are shared out, so no batch and no byte depends on how many
workers there are. What comes back is the bytes of this machine alone if the workers' processors or GPUs are of its
kind, and their releases of the libraries are the same; those are checked.
"""

import platform
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chatladder.distributed import Need, Workers, check_seen
from chatladder.io.console import DataError
from chatladder.models.digests import LIBRARIES
from chatladder.models.loading import load, read_rung, within_context
from chatladder.models.prompts import Prompt
from chatladder.models.scoring import Scoring, score
from chatladder.vocabulary import ANSWERS


def need_of(base: Path) -> Need:
    """What a call takes that loads a rung; embedded models run on processors everywhere.

    Raises:
        DataError: If the folder is no base folder.
    """
    import torch

    return Need(threads=torch.get_num_threads(), gpu=read_rung(base)["source"] != "embedded")


class Place:
    """The machine that hands out, as a worker has to be: the files it sees, and its releases of libraries.

    Args:
        paths: Absolute, on the storage that all nodes share.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._releases = _releases()

    def check(self) -> None:
        """Refuse to work on a machine that is none such.

        Raises:
            DataError: If a file is not there, or a library is of another release.
        """
        for path in self._paths:
            check_seen(path)
        for name, release in _releases().items():
            if release != self._releases[name]:
                raise DataError(
                    f"{platform.node()}: expected {name} {self._releases[name]} as where the stage runs, got "
                    f"{release}. Install the same on every node: other releases give other digits."
                )


def _releases() -> dict[str, str]:
    """Releases of what computes, whatever the devices that they were built for: those end in +cpu, +cu130 and so on."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


class Part(NamedTuple):
    """One of ``of`` parts of the batches, each as large as the others; from 0."""

    number: int
    of: int


class Scored(NamedTuple):
    """Some prompts' scores.

    Attributes:
        places: Indices of the prompts.
        scores: Shape (places, 3).
        shortened: How many of all prompts were too long.
        room: Most tokens of a prompt with its answer.
    """

    places: list[int]
    scores: np.ndarray
    shortened: int
    room: int


class PromptScorer:
    """A rung and what it is to score. The model is loaded where the first part is scored, and stays for the others."""

    def __init__(self, base: Path, adapter: Path | None, prompts: Sequence[Prompt], max_length: int) -> None:
        """See ``score_rung``; paths are absolute."""
        self._base, self._adapter = base, adapter
        self._prompts, self._max_length = prompts, max_length
        self._place = Place(base, *([adapter] if adapter else []))

    @cached_property
    def _scoring(self) -> Scoring:
        self._place.check()
        return Scoring(*load(self._base, self._adapter), self._prompts, self._max_length)

    def part(self, part: Part) -> Scored:
        """Scores of every so many-th batch: lengths fall, so parts are alike."""
        own = self._scoring.batches[part.number :: part.of]
        found = [np.zeros((0, len(ANSWERS))), *self._scoring.scores(own)]
        places = [index for batch in own for index in batch]
        return Scored(places, np.concatenate(found), self._scoring.shortened, self._scoring.room)


def score_part(part: Part, scorer: PromptScorer) -> Scored:
    """On a worker: the scores of one part."""
    return scorer.part(part)


def score_rung(
    base: Path, adapter: Path | None, prompts: Sequence[Prompt], max_length: int, pool: Workers | None
) -> tuple[np.ndarray, int, int]:
    """Log-probability of each option of each prompt, by workers if there are any; then no weights are loaded here.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train``; None for the untouched model.
        prompts: At least one.
        max_length: See ``chatladder.models.scoring.score``.
        pool: Workers.

    Returns:
        Sums in nats, shape (n, 3) with columns as ``ANSWERS``; how many prompts were shortened, and to how many tokens.

    Raises:
        DataError: As ``load`` and ``score``; or if a worker does not see the folders, or has other libraries.
    """
    if pool is None:
        model, tokenizer = load(base, adapter)
        scores, shortened = score(model, tokenizer, prompts, max_length)
        return scores, shortened, within_context(model, max_length)
    from tqdm import tqdm

    need = need_of(base)
    scorer = PromptScorer(base.resolve(), adapter.resolve() if adapter else None, prompts, max_length)
    count = min(pool.parts(need), len(prompts))
    parts = [Part(number, count) for number in range(count)]
    scores = np.zeros((len(prompts), len(ANSWERS)))
    shortened = room = 0
    with tqdm(total=len(prompts), desc="score", disable=None) as bar:
        for _, found in pool.as_done(score_part, parts, scorer, need=need):
            scores[found.places] = found.scores
            shortened, room = found.shortened, found.room
            bar.update(len(found.places))
    return scores, shortened, room
