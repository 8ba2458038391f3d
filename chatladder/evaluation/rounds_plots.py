"""How far the annotators agreed, round by round."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatladder.labels.answer import Answer

COLUMNS = ("round", "annotators", "answered", "shared", "measure", "value")
_MEASURES = {"kappa": "Cohen's kappa", "alpha": "Krippendorff's alpha"}


def round_rows(answers: Sequence[Answer], agreement: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Rows of ``COLUMNS``: for each round with answers how many people answered how many items, and each measure.

    Args:
        answers: All that count, undone ones left out.
        agreement: Round -> ``items`` that two people or more answered, ``kappa`` and ``alpha``, as ``rounds`` of
            ``metrics/annotation.json``. A round that only one person answered is not among them; its value is empty,
            as is one that is not defined.
    """
    people: dict[int, set[str]] = {}
    items: dict[int, set[str]] = {}
    for answer in answers:
        people.setdefault(answer.round, set()).add(answer.annotator)
        items.setdefault(answer.round, set()).add(answer.item_id)
    for number in sorted(people):
        found = agreement.get(str(number), {})
        for name, measure in _MEASURES.items():
            value = found.get(name)
            shared = found.get("items", 0)
            yield number, len(people[number]), len(items[number]), shared, measure, "" if value is None else value
