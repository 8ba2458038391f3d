"""Kind and text of a message that is files and no words, for every format alike."""

import re
from collections.abc import Sequence

IMAGE = re.compile(r"\.(?:png|jpe?g|gif|webp|bmp|avif|hei[cf]|svg|tiff?)$", re.IGNORECASE)


def kind_of_files(names: Sequence[str]) -> tuple[str, str]:
    """Return (kind, text): pictures have no text, files that of their names, and no file at all is other."""
    if not names:
        return "other", ""
    return ("image", "") if all(IMAGE.search(name) for name in names) else ("file", " ".join(filter(None, names)))
