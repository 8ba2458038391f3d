"""How far annotators agree, round by round and as time goes by, and what they say together."""

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
        items: How many items two annotators or more answered.
        kappa: Cohen's kappa over the four labels (mean over pairs of annotators), or None if undefined.
        alpha: Krippendorff's alpha over the four labels, for any number of annotators who may each have answered
            other items; None if undefined.
        annotators: For each annotator the mean of Cohen's kappa with every other, or None if undefined: who reads the
            guidelines differently stands out.
    """

    round: int | None
    items: int
    kappa: float | None
    alpha: float | None
    annotators: dict[str, float | None]


class Stretch(NamedTuple):
    """Agreement over some of a round's items, neighbours in time.

    Attributes:
        start: When the first of them had its last answer, ISO 8601 in UTC.
        end: When the last of them had.
        items: How many they are.
        kappa: Cohen's kappa over the four labels (mean over pairs of annotators), or None if undefined.
    """

    start: str
    end: str
    items: int
    kappa: float | None


def majority(labels: Sequence[Label]) -> Label | None:
    """The label given more often than any other, or None if two are given equally often.

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
    """Agreement in every round in which two annotators share an item, by the round's number.

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
    """Return the agreement of the round that two annotators share most items of (of several such, the latest).

    Not simply of the latest: a correction round holds the items that people disagree about, so its kappa is
    far lower than that of the labels as a whole.

    Args:
        measured: As ``agreement_by_round`` gives it; of nothing an empty agreement.
    """
    nothing = Agreement(None, 0, None, None, {})
    return max(measured.values(), key=lambda agreement: (agreement.items, agreement.round or 0), default=nothing)


def agreement_over_time(answers: Iterable[Answer], parts: int) -> list[Stretch]:
    """Whether the annotators of a round come closer, or drift apart, while they work.

    The items that two of them share, in the order in which each had its last answer, in parts of equal size (one
    item more or less).

    Args:
        answers: Answers of one round, one an item and annotator.
        parts: How many; fewer come back where there are fewer items.

    Raises:
        ValueError: If ``parts`` is below 1.
    """
    if parts < 1:
        raise ValueError(f"expected at least one part, got {parts}.")
    by_item: dict[str, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item_id, []).append(answer)
    # Times are compared as times: of two texts, 12:00:00Z and 12:00:00.5Z, the later one sorts first.
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
