"""Reviews: labels that models suspect, and a random share of all labels, are annotated again; flips are counted.

No model chooses the random part: whether an item is in that of round N depends on its id and on N alone. So it shows
the effect of asking again by itself, and its changes may be scored.

The list is frozen when the review begins, as ``round_<n>/review.json``: ``{"items": [ids in the order in which they
are shown], "suspects": [ids, by suspicion], "random": [ids]}``. Items in neither were chosen by people. A new queue of
the pipeline does not change it. In a record of the earlier form, ``{"items", "controls"}``, all items count as
suspects, since models chose the controls, too.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from math import hypot
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json
from chatladder.labels.answer import Answer, Label
from chatladder.labels.folds import stable_fraction
from chatladder.labels.rounds import round_folders
from chatladder.labels.verdicts import Logs, decide, rounded
from chatladder.vocabulary import SCORED

#: In a round's folder, next to its logs.
FILE = "review.json"
#: The directions of flips.
_DIRECTIONS = (*("_to_".join(pair) for pair in permutations(SCORED, 2)), "left_out")
_WHOSE = {"suspects": "suspects", "random": "random items"}


class Review(NamedTuple):
    """The items that a round reviews.

    Attributes:
        items: Ids in the order in which they are shown.
        suspects: Items whose labels models suspect, the most suspicious first; none of the random part.
        random: Items of the random part.
    """

    items: tuple[str, ...]
    suspects: tuple[str, ...] = ()
    random: frozenset[str] = frozenset()

    @property
    def is_queue(self) -> bool:
        """True if the review is the pipeline's queue and the random part alone, without items that people chose."""
        return len(self.suspects) + len(self.random) == len(self.items)


def random_part(labelled: Iterable[str], number: int, share: float) -> list[str]:
    """Return the random part of a round: a share of the labelled items, in their order.

    Args:
        labelled: Ids of all labelled items, the test split included.
        number: The number of the round.
        share: From 0 to 1.
    """
    return [item_id for item_id in labelled if stable_fraction(item_id, f"random:{number}") < share]


def mix(suspects: Sequence[str], random: Iterable[str], number: int) -> tuple[str, ...]:
    """Return the items of a review in the order in which they are shown.

    The suspects keep their order, evenly spaced; a hash decides the position of a random item among them. So an
    annotator who stops early has seen about the same share of both.

    Args:
        suspects: Ids, the most suspicious first.
        random: Ids of the random part.
        number: The number of the round.
    """
    places = {item_id: (stable_fraction(item_id, f"place:{number}"), item_id) for item_id in random}
    places |= {item_id: ((rank + 0.5) / len(suspects), item_id) for rank, item_id in enumerate(suspects)}
    return tuple(sorted(places, key=lambda item_id: places[item_id]))


class Rate(NamedTuple):
    """A share, or a difference of two, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def read_review(folder: Path) -> Review | None:
    """Return the review of a round, or None if the round is not a review.

    Args:
        folder: The round's folder, ``round_<n>``.

    Raises:
        DataError: If the record is damaged.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return None
    row = read_json(path)
    row = row if isinstance(row, dict) else {}
    items = _ids(row.get("items"))
    names = ("suspects", "random") if "suspects" in row else ("controls",)
    parts = [part for part in (_ids(row.get(name)) for name in names) if part is not None]
    if not items or len(parts) < len(names) or not _are_parts(parts, items):
        raise DataError(
            f'{path}: expected {{"items": [ids], "suspects": [some of them], "random": [others of them]}}, none twice. '
            "Restore it."
        )
    if names == ("controls",):
        return Review(tuple(items), tuple(items))
    suspects, random = parts
    return Review(tuple(items), tuple(suspects), frozenset(random))


def _are_parts(parts: Sequence[list[str]], items: Sequence[str]) -> bool:
    """Return True if the lists are disjoint subsets of the items."""
    listed = [item_id for part in parts for item_id in part]
    return set(listed) <= set(items) and len(set(listed)) == len(listed)


def read_reviews(annotations: Path, last_round: int) -> dict[int, Review]:
    """Return the reviews among rounds 1 to ``last_round``, by number.

    Raises:
        DataError: If a record is damaged.
    """
    found = {number: read_review(folder) for number, folder in round_folders(annotations).items()}
    return {number: review for number, review in found.items() if review is not None and number <= last_round}


def _ids(value: Any) -> list[str] | None:
    """Return the value if it is a list of distinct strings, else None."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return value if len(set(value)) == len(value) else None


def refuse_review(folder: Path) -> None:
    """Refuse other work in a review: its answers would decide items that are not under review.

    Raises:
        DataError: If the round is a review.
    """
    if os.path.lexists(folder / FILE):
        raise DataError(
            f"{folder / FILE}: expected a round of annotation, but this one is a review. "
            f"Go on with chatladder review --round {folder.name.rpartition('_')[2]}, or begin a round: --new-round."
        )


def begin(folder: Path, review: Review) -> Review:
    """Freeze a review, whole or not at all, unless another process did so first.

    Returns:
        The round's review; if several begin at once, the first.

    Raises:
        DataError: If it cannot be written.
    """
    path = folder / FILE
    begun = read_review(folder)
    if begun is not None:
        return begun
    create_json(path, record_of(review))
    frozen = read_review(folder)
    if frozen is None:
        raise DataError(f"{path}: something removed it while the review began. Start again.")
    return frozen


def record_of(review: Review) -> dict[str, list[str]]:
    """Return the content of ``review.json``."""
    return {"items": [*review.items], "suspects": [*review.suspects], "random": sorted(review.random)}


def flips(review: Review, before: Mapping[str, Label | None], after: Mapping[str, Label | None]) -> dict[str, Any]:
    """Count the labels that a review flips, among the suspects and in the random part.

    Some people answer differently the second time, whether or not the label was right. The rate of the random part is
    the effect of asking again by itself; ``excess`` is what suspicion adds to it, and its interval shows whether that
    is more than chance. Only the review's own answers count here: whether a label changes is up to the pooled votes.

    Args:
        review: The items that were reviewed.
        before: Item -> its label before the review.
        after: Item -> its label by the review's answers, None where its annotators disagree; unanswered items are
            missing.

    Returns:
        For ``suspects`` and ``random`` each: ``items``, ``answered``, ``flipped``, ``rate`` with ``rate_lo`` and
        ``rate_hi``, and the flips by direction, where ``left_out`` are items that end with neither label. In addition
        ``excess`` with ``excess_lo`` and ``excess_hi``, and ``unlabelled``: answered items that had neither label
        before, which count nowhere else. Rates are fractions, None if nothing was answered. The 95 % intervals assume
        that items are independent.

    Source:
        Wilson (1927) for a rate. Newcombe (1998), Statistics in Medicine 17, 873-890, method 10, for the difference.
    """
    (of_suspects, suspect_rate), (of_random, random_rate) = (
        _turned(items, before, after) for items in (review.suspects, sorted(review.random))
    )
    excess = newcombe(suspect_rate, random_rate) if suspect_rate and random_rate else None
    unlabelled = sum(item_id in after and before.get(item_id) not in SCORED for item_id in review.items)
    return {"suspects": of_suspects, "random": of_random, **_shown("excess", excess), "unlabelled": unlabelled}


def flips_by_round(annotations: Path, last_round: int, logs: Logs) -> dict[int, dict[str, Any]]:
    """Return the ``flips`` of each review round that counts, by number.

    The label before a review comes from all earlier rounds, adjudications included; the label after it from its own
    annotators. Adjudications of the review itself are left out, since they are not blind.

    Args:
        annotations: Folder of the rounds.
        last_round: The last round that counts.
        logs: The answers of the rounds.

    Raises:
        DataError: If a review's record is damaged.
    """
    return {
        number: flips(
            review,
            _labels(*([each for each in given if each.round < number] for given in (logs.answers, logs.adjudications))),
            _labels([answer for answer in logs.answers if answer.round == number]),
        )
        for number, review in read_reviews(annotations, last_round).items()
    }


def _labels(answers: Sequence[Answer], adjudications: Sequence[Answer] = ()) -> dict[str, Label | None]:
    return {item_id: verdict.label for item_id, verdict in decide(answers, adjudications).items()}


def flips_as_metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten ``flips`` for metrics, as ``suspects``, ``suspects_answered``, ``suspects_rate``.

    The directions are left out; the counts of each label in the same file show their net effect.
    """
    flat = {}
    for name in _WHOSE:
        counts = found[name]
        flat[name] = counts["items"]
        flat |= {f"{name}_{key}": counts[key] for key in ("answered", "flipped", "rate", "rate_lo", "rate_hi")}
    return flat | {name: value for name, value in found.items() if name not in _WHOSE}


def flips_in_words(number: int, found: Mapping[str, Any]) -> str:
    """Return one line about the flips of a round."""
    parts = [f"{found[name]['answered']:,} {words}" for name, words in _WHOSE.items()]
    line = f"round {number} looked again at {' and '.join(parts)}"
    rates = [
        f"{100 * found[name]['rate']:.0f} % of the {words}" for name, words in _WHOSE.items() if found[name]["answered"]
    ]
    if rates:
        line += f": {', '.join([f'{rates[0]} flipped', *rates[1:]])}"
    if found["excess"] is not None:
        excess, low, high = (f"{round(100 * found[name]):+d}" for name in ("excess", "excess_lo", "excess_hi"))
        line += f"; excess {excess} points [{low}, {high}]"
    return line


def _turned(
    items: Sequence[str], before: Mapping[str, Label | None], after: Mapping[str, Label | None]
) -> tuple[dict[str, Any], Rate | None]:
    """Return the counts of ``flips`` for some items, and their rate."""
    answered = [item_id for item_id in items if item_id in after and before.get(item_id) in SCORED]
    moves = Counter(_move(before[item_id], after[item_id]) for item_id in answered)
    flipped = sum(moves[direction] for direction in _DIRECTIONS)
    rate = wilson(flipped, len(answered))
    counts = {"items": len(items), "answered": len(answered), "flipped": flipped, **_shown("rate", rate)}
    return {**counts, **{direction: moves[direction] for direction in _DIRECTIONS}}, rate


def _move(before: Label | None, after: Label | None) -> str:
    if after == before:
        return "kept"
    return f"{before}_to_{after}" if after in SCORED else "left_out"


def wilson(hits: int, total: int) -> Rate | None:
    """Return a share with Wilson's 95 % interval, or None if ``total`` is 0.

    Source:
        Wilson (1927); scipy's ``binomtest(...).proportion_ci(method="wilson")``.
    """
    if not total:
        return None
    from scipy.stats import binomtest

    interval = binomtest(hits, total).proportion_ci(confidence_level=0.95, method="wilson")
    return Rate(hits / total, float(interval.low), float(interval.high))


def newcombe(first: Rate, second: Rate) -> Rate:
    """Return the difference of two independent shares, first minus second, with Newcombe's 95 % interval.

    Args:
        first: A share with Wilson's interval.
        second: Another such share.

    Source:
        Newcombe (1998), Statistics in Medicine 17, 873-890, method 10.
    """
    value = first.value - second.value
    return Rate(
        value,
        value - hypot(first.value - first.low, second.high - second.value),
        value + hypot(first.high - first.value, second.value - second.low),
    )


def _shown(name: str, rate: Rate | None) -> dict[str, float | None]:
    """Return a rate as ``name``, ``name_lo`` and ``name_hi``."""
    values = rate or (None, None, None)
    return {f"{name}{end}": rounded(value) for end, value in zip(("", "_lo", "_hi"), values, strict=True)}
