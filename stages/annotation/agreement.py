"""How far annotators agree, and what they say together."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from stages.annotation.log import Label


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


def round_agreement(rounds: Mapping[int, Mapping[str, Mapping[str, Label]]]) -> Agreement:
    """Agreement in the round that two annotators share most items of (of several such rounds, the latest).

    Not simply in the latest: a correction round holds the items that people disagree about, so its kappa is
    far lower than that of the labels as a whole.

    Args:
        rounds: Round -> annotator -> item_id -> label.
    """
    best = Agreement(None, 0, None, None, {})
    for number in sorted(rounds):
        by_annotator = rounds[number]
        answered = Counter(item_id for labels in by_annotator.values() for item_id in labels)
        shared = sum(times >= 2 for times in answered.values())
        if shared and shared >= best.items:
            kappas = _kappas(by_annotator)
            own = {
                name: _mean([kappa for pair, kappa in kappas.items() if name in pair]) for name in sorted(by_annotator)
            }
            best = Agreement(number, shared, _mean(list(kappas.values())), krippendorff_alpha(by_annotator), own)
    return best


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


def _kappas(by_annotator: Mapping[str, Mapping[str, Label]]) -> dict[tuple[str, str], float]:
    """Cohen's kappa of every pair of annotators for whom it is defined."""
    kappas = {}
    for first, second in combinations(sorted(by_annotator), 2):
        both = [item_id for item_id in by_annotator[first] if item_id in by_annotator[second]]
        kappa = cohen_kappa(
            [by_annotator[first][item_id] for item_id in both],
            [by_annotator[second][item_id] for item_id in both],
        )
        if kappa is not None:
            kappas[first, second] = kappa
    return kappas


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
