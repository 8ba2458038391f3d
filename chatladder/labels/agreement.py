"""Agreement between annotators, by round and over time, and their majority label."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import combinations, pairwise
from typing import NamedTuple

from chatladder.labels.answer import Answer, Label


class Agreement(NamedTuple):
    """Agreement within one round.

    Attributes:
        round: The round it was measured in, or None if no round has two annotators.
        items: The number of items that at least two annotators answered.
        kappa: Cohen's kappa over the four labels (mean over pairs of annotators), or None if undefined.
        alpha: Krippendorff's alpha over the four labels, for any number of annotators, who need not have answered the
            same items; None if undefined.
        annotators: Each annotator's mean Cohen's kappa with all others, or None if undefined. An annotator who reads
            the guidelines differently stands out.
    """

    round: int | None
    items: int
    kappa: float | None
    alpha: float | None
    annotators: dict[str, float | None]


class Stretch(NamedTuple):
    """Agreement on a part of a round's items, consecutive in time.

    Attributes:
        start: Time of the last answer to the first item, ISO 8601 in UTC.
        end: Time of the last answer to the last item.
        items: The number of items.
        kappa: Cohen's kappa over the four labels (mean over pairs of annotators), or None if undefined.
    """

    start: str
    end: str
    items: int
    kappa: float | None


def majority(labels: Sequence[Label]) -> Label | None:
    """Return the most frequent label, or None on a tie.

    A tie is not broken: with two annotators any rule would simply prefer one person, or one label.
    """
    counts = Counter(labels).most_common(2)
    if len(counts) == 2 and counts[0][1] == counts[1][1]:
        return None
    return counts[0][0]


def cohen_kappa(first: Sequence[Label], second: Sequence[Label]) -> float | None:
    """Cohen's kappa of two annotators' labels of the same items, shape ``(n,)`` each.

    Returns:
        Agreement beyond chance, at most 1; None where it is undefined (no items, or one label only,
        where chance alone gives full agreement).

    Source:
        Cohen (1960); scikit-learn ``cohen_kappa_score``.
    """
    if len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score([str(label) for label in first], [str(label) for label in second]))


def agreement_by_round(rounds: Mapping[int, Mapping[str, Mapping[str, Label]]]) -> dict[int, Agreement]:
    """Return the agreement of each round in which two annotators share an item, by round number.

    Args:
        rounds: Round -> annotator -> item_id -> label.
    """
    measured = {}
    for number in sorted(rounds):
        by_annotator = rounds[number]
        answered = Counter(item_id for labels in by_annotator.values() for item_id in labels)
        shared = sum(times >= 2 for times in answered.values())
        if shared:
            kappas = _kappas(by_annotator)
            by_name = {
                name: _mean([kappa for pair, kappa in kappas.items() if name in pair]) for name in sorted(by_annotator)
            }
            alpha = krippendorff_alpha(by_annotator)
            measured[number] = Agreement(number, shared, _mean(list(kappas.values())), alpha, by_name)
    return measured


def largest(measured: Mapping[int, Agreement]) -> Agreement:
    """Return the agreement of the round with the most shared items; on a tie, of the latest.

    The latest round is not the measure: a correction round holds the items that people disagree about, so its kappa
    is far lower than that of the labels as a whole.

    Args:
        measured: The result of ``agreement_by_round``; if it is empty, so is the agreement.
    """
    nothing = Agreement(None, 0, None, None, {})
    return max(measured.values(), key=lambda agreement: (agreement.items, agreement.round or 0), default=nothing)


def agreement_over_time(answers: Iterable[Answer], parts: int) -> list[Stretch]:
    """Return the agreement over the course of a round, to show whether annotators converge or drift apart.

    The shared items are sorted by their last answer and cut into parts of equal size, give or take one item.

    Args:
        answers: Answers of one round, one per item and annotator.
        parts: The number of parts; fewer are returned if there are fewer items.

    Raises:
        ValueError: If ``parts`` is below 1.
    """
    if parts < 1:
        raise ValueError(f"expected at least one part, got {parts}.")
    by_item: dict[str, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item_id, []).append(answer)
    # Compared as times, not as text, where 12:00:00.5Z sorts before 12:00:00Z.
    shared = sorted(
        (max((datetime.fromisoformat(answer.at), answer.at) for answer in given), item_id)
        for item_id, given in by_item.items()
        if len(given) >= 2
    )
    bounds = [len(shared) * part // parts for part in range(parts + 1)]
    pieces = [shared[first:after] for first, after in pairwise(bounds) if first < after]
    return [_stretch(piece, by_item) for piece in pieces]


def krippendorff_alpha(by_annotator: Mapping[str, Mapping[str, Label]]) -> float | None:
    """Krippendorff's alpha of nominal labels; an annotator need not have answered every item.

    Args:
        by_annotator: annotator -> item_id -> label.

    Returns:
        At most 1; None where it is undefined (one label only, or no item that two answered).

    Source:
        Krippendorff (2004), "Content Analysis", chapter 11; the package ``krippendorff``.
    """
    import numpy as np
    from krippendorff import alpha

    codes = {label: code for code, label in enumerate(Label)}
    item_ids = sorted({item_id for labels in by_annotator.values() for item_id in labels})
    counts = np.zeros((len(item_ids), len(codes)), dtype=int)
    row = {item_id: number for number, item_id in enumerate(item_ids)}
    for labels in by_annotator.values():
        for item_id, label in labels.items():
            counts[row[item_id], codes[label]] += 1
    pairable = counts[counts.sum(axis=1) >= 2]
    if (pairable.sum(axis=0) > 0).sum() < 2:
        return None
    return float(alpha(value_counts=pairable, level_of_measurement="nominal"))


def _stretch(piece: Sequence[tuple[tuple[datetime, str], str]], by_item: Mapping[str, Sequence[Answer]]) -> Stretch:
    by_annotator: dict[str, dict[str, Label]] = {}
    for _, item_id in piece:
        for answer in by_item[item_id]:
            by_annotator.setdefault(answer.annotator, {})[item_id] = answer.label
    kappa = _mean(list(_kappas(by_annotator).values()))
    return Stretch(start=piece[0][0][1], end=piece[-1][0][1], items=len(piece), kappa=kappa)


def _kappas(by_annotator: Mapping[str, Mapping[str, Label]]) -> dict[tuple[str, str], float]:
    """Cohen's kappa of every pair of annotators for whom it is defined."""
    kappas = {}
    for first, second in combinations(sorted(by_annotator), 2):
        both = [item_id for item_id in by_annotator[first] if item_id in by_annotator[second]]
        kappa = cohen_kappa(
            [by_annotator[first][item_id] for item_id in both], [by_annotator[second][item_id] for item_id in both]
        )
        if kappa is not None:
            kappas[first, second] = kappa
    return kappas


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
