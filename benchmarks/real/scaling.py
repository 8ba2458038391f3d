"""The AUROC from which the check of the labels by model size is useful, on real questions.

Example:
    python -m benchmarks.real.scaling

Models whose AUROC grows by a given amount per doubling around a level are synthesised from real ones: an untouched
model's residual beyond the label is kept, with its correlations between models and within conversations, and the label
is added with the weight that gives the AUROC. Then the product's gate judges them (chatladder/evaluation/gate.py).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.real.chats import (
    CHATS,
    Chat,
    Labels,
    answered,
    in_brackets,
    models_of,
    needed,
    publish,
    read_chat,
    read_models,
    scored,
    sizes_of,
    table,
)
from chatladder.evaluation.gate import FAIL, PASS, GateSettings, Scores, gate_of
from chatladder.evaluation.predictions import Items, Predictions
from chatladder.evaluation.rungs import Rung
from chatladder.evaluation.scaling_check import Model, in_words, scaling_check
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Floats, auroc_of, clusters_of
from chatladder.io.console import SETTINGS, example

MARGIN = GateSettings(margin=0.005)
#: Millions of parameters of the models of a ladder.
LADDERS = {
    "3 models, 0.27-1.5 B": (268, 494, 1544),
    "9 models, 3 of each": (268, 494, 1544) * 3,
    "7 models, 0.5-72 B": (464, 1240, 3950, 7720, 14200, 32500, 72300),
}
LEVELS = (0.52, 0.6, 0.7)
GROWTHS = (0.0, 0.01, 0.02, 0.04)
ITEMS = (1_000, 5_000)
#: The standard deviation of the AUROC of models of one size, over pretraining runs.
LUCK = 0.01
#: The chat with more questions, from whose models' answers the others are synthesised.
MADE_FROM = CHATS[0]


class Material(NamedTuple):
    """The parts from which models are synthesised.

    Attributes:
        is_needed: The labels, 0 or 1, shape ``(n,)``.
        clusters: The index of each item's conversation, shape ``(n,)``.
        rest: Real models' residuals beyond the labels: mean 0 and deviation 1 within each, shape ``(models, n)``.
    """

    is_needed: Labels
    clusters: NDArray[np.int64]
    rest: Floats

    @property
    def shared(self) -> float:
        """The mean correlation between two models' residuals, at least 0."""
        models = len(self.rest)
        if models < 2:
            return 0.5
        return float(np.clip((np.corrcoef(self.rest).sum() - models) / (models * (models - 1)), 0, 1))


def material_of(is_needed: Labels, conversations: Sequence[str], evidence: Sequence[Floats]) -> Material:
    """Remove the labels from models' evidence.

    Args:
        is_needed: The labels, 0 or 1, shape ``(n,)``.
        conversations: The conversation of each item.
        evidence: Each model's evidence, shape ``(n,)``.
    """
    rest = []
    for values in evidence:
        ranks = norm.ppf((values.argsort(kind="stable").argsort(kind="stable") + 0.5) / len(values))
        for label in (0, 1):
            ranks[is_needed == label] -= ranks[is_needed == label].mean()
        rest.append(ranks / ranks.std())
    return Material(is_needed, clusters_of(conversations), np.array(rest))


def weight_of(auroc: float) -> float:
    """Return the distance between two normal distributions of deviation 1 that have this AUROC."""
    return math.sqrt(2) * float(norm.ppf(auroc))


def drawn_items(material: Material, count: int, noise: np.random.Generator) -> tuple[NDArray[np.int64], Labels]:
    """Draw whole conversations until there are at least ``count`` items.

    Returns:
        The items' indices, and for each the number of its conversation, a new number each time that it is drawn.
    """
    members = [np.flatnonzero(material.clusters == cluster) for cluster in range(material.clusters.max() + 1)]
    sizes = np.array(list(map(len, members)))
    drawn = noise.integers(len(members), size=count)
    drawn = drawn[: np.searchsorted(np.cumsum(sizes[drawn]), count) + 1]
    return np.concatenate([members[each] for each in drawn]), np.repeat(np.arange(len(drawn)), sizes[drawn])


def made_up(
    material: Material, params: Sequence[float], level: float, growth: float, count: int, noise: np.random.Generator
) -> Scores:
    """Synthesise the scores of a ladder.

    Args:
        material: The real models' residuals.
        params: The parameters of each model.
        level: The AUROC in the middle of the ladder.
        growth: The growth of AUROC per doubling.
        count: The least number of items.
        noise: The generator.
    """
    places, clusters = drawn_items(material, count, noise)
    is_needed = material.is_needed[places]
    references = np.where(is_needed == 1, NEEDED, NOT_NEEDED)
    doublings = np.log2(np.asarray(params, dtype=np.float64))
    own = math.sqrt(1 - material.shared)
    common = material.rest.mean(axis=0)
    common = math.sqrt(material.shared) * (common / common.std())[places]
    values, influence = [], []
    for above in doublings - (doublings.min() + doublings.max()) / 2:
        auroc = float(np.clip(level + growth * above + LUCK * noise.standard_normal(), 0.01, 0.99))
        said = weight_of(auroc) * is_needed + common + own * noise.standard_normal(len(places))
        value, added = auroc_of(references, said)
        values.append(value)
        influence.append(added)
    return Scores([round(each * 1e6) for each in params], np.array(values), np.array(influence), clusters)


def verdicts(
    material: Material, params: Sequence[float], level: float, growth: float, count: int, draws: int
) -> tuple[float, float]:
    """Return the shares of draws in which the gate passes and in which it fails."""
    noise = np.random.Generator(np.random.PCG64(0))
    said = [gate_of(made_up(material, params, level, growth, count, noise), MARGIN).verdict for _ in range(draws)]
    return said.count(PASS) / draws, said.count(FAIL) / draws


def rows_of(material: Material, draws: int) -> list[tuple[str, ...]]:
    """Return a row for each ladder, level and number of items: how often the gate passes at each growth."""
    rows = []
    for (name, params), count, level in product(LADDERS.items(), ITEMS, LEVELS):
        found = [verdicts(material, params, level, growth, count, draws) for growth in GROWTHS]
        shares = [f"{passes:.2f}" + (f" (fails {fails:.2f})" if fails else "") for passes, fails in found]
        rows.append((name, f"{count:,}", f"{level:.2f}", *shares))
    return rows


def labelled(chat: Chat) -> Chat:
    """Return the questions on which both readers agree on one of the two labels."""
    first, second = chat.readings
    agreed = np.array([one == other for one, other in zip(first, second, strict=True)])
    return chat.where(agreed & scored(first))


def toy_evidence(chat: Chat) -> list[Floats]:
    """Return stand-ins for missing models: random noise, partly shared within a conversation."""
    noise = np.random.Generator(np.random.PCG64(0))
    clusters = clusters_of(chat.conversations)
    return [
        noise.standard_normal(len(clusters)) + 0.3 * noise.standard_normal(clusters.max() + 1)[clusters]
        for _ in range(2)
    ]


def checked(chat: Chat, models: Mapping[str, Predictions]) -> list[str]:
    """Return the product's check of the real models, with the AUROC of each."""
    sizes = sizes_of(chat, list(models))
    references = np.where(needed(chat.readings[0]) == 1, NEEDED, NOT_NEEDED)
    items = Items(chat.item_ids, chat.conversations, references)
    given = [Model(Rung(name, sizes[name]), 0, False, answers) for name, answers in models.items()]
    scaling = scaling_check(items, given, MARGIN)
    rows = [
        (each.model.rung.key, f"{each.model.rung.params:,}", in_brackets(each.value))
        for each in scaling.scores["auroc"]
    ]
    return [table(("untouched", "parameters", "AUROC"), rows), " ".join(in_words(scaling, MARGIN))]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--draws", type=click.IntRange(1), default=50, show_default=True, help="Draws of each ladder.")
def main(draws: int) -> None:
    """Write how often the gate passes, by AUROC, growth, models and items."""
    parts = [
        f"How often the gate passes, by the growth of AUROC per doubling (columns), over {draws} draws. A growth"
        f" of 0 must not pass. Models of one size differ by {LUCK:g} (standard deviation, assumed). Items are "
        "drawn by whole conversations.",
    ]
    simulated: list[str] = []
    for name in CHATS:
        chat = labelled(read_chat(name))
        paths = models_of(chat, "vanilla")
        chat = chat.where(answered(chat, paths))
        models = read_models(chat, paths)
        if len(models) > 1:
            parts += [f"## {chat.name}: the untouched models", *checked(chat, models)]
        if chat.name != MADE_FROM:
            continue
        evidence = [answers.log_odds for answers in models.values()] or toy_evidence(chat)
        material = material_of(needed(chat.readings[0]), chat.conversations, evidence)
        source = (
            f"What they say beyond the label is that of the untouched models of {chat.name}."
            if models
            else "No untouched model's answers are here: what models say beyond the label is made up, too."
        )
        header = ("ladder", "items", "AUROC in the middle", *(f"{growth:+.2f}" for growth in GROWTHS))
        simulated = [
            "## Models that are made up",
            f"{source} Two models share {material.shared:.2f} of it (correlation).",
            table(header, rows_of(material, draws)),
        ]
    parts += simulated
    publish("scaling", "From which AUROC on is the check by model size of use?", parts)


if __name__ == "__main__":
    main()
