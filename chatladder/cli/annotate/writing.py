"""Texts that annotators write themselves: on one line, and masked as ingest masks the chat; independent of any screen.

Names are not masked: annotators see pseudonyms, and ``chatladder audit`` finds names of the exports in the logs.
"""

from collections import Counter
from collections.abc import Sequence

from chatladder.io.params import PARAMS, read_settings
from chatladder.labels.rewrites import one_line


def masked_line(text: str, regions: Sequence[str]) -> tuple[str, int]:
    """Return a text on one line without personal data, and the number of pieces that were replaced.

    Args:
        text: The typed text.
        regions: The result of ``phone_regions``.
    """
    from chatladder.privacy.masking import mask

    counts: Counter[str] = Counter()
    return mask(one_line(text), counts, regions), counts.total()


def phone_regions() -> tuple[str, ...]:
    """Return the countries whose phone numbers are masked without their +, from section ingest of params.yaml.

    Raises:
        DataError: If params.yaml exists and cannot be used.
    """
    from chatladder.chat.options import ExportOptions

    regions: tuple[str, ...] = read_settings(ExportOptions, PARAMS, "ingest").phone_region if PARAMS.exists() else ()
    return regions
