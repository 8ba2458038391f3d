"""Kind and text of a message of files without words, shared by all formats."""

import re
from collections.abc import Sequence

IMAGE = re.compile(r"\.(?:png|jpe?g|gif|webp|bmp|avif|hei[cf]|svg|tiff?)$", re.IGNORECASE)


def kind_of_files(names: Sequence[str]) -> tuple[str, str]:
    """Return (kind, text): a picture has no text, a file's is its name, and without any file the kind is other."""
    if not names:
        return "other", ""
    return ("image", "") if all(IMAGE.search(name) for name in names) else ("file", " ".join(filter(None, names)))
