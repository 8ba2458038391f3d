"""File names of media, notes and lists of names that lie next to exports; needs no format."""

import re
from pathlib import PurePosixPath

#: Suffixes of lists of names to remove from every text, of names to keep although a member has them, and of the marks
#: of forgotten members; these files are not exports.
DENY, KEEP, FORGOTTEN = ".deny", ".keep", ".forgotten"
#: Files that lie next to an export's messages: pictures, sound and films; documents that people send, and web pages
#: that an exporter makes from the same messages.
MEDIA = re.compile(
    r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|hei[cf]|avif|ico|tgs|was|apng|mp[34]|m4[av]|og[agv]|opus|wav|aac|flac|amr|wma"
    r"|mov|webm|mkv|avi|3gp|wmv|pdf|docx?|xlsx?|pptx?|od[tsp]|rtf|epub|vcf|ics|apk|exe|dmg|iso|html?|css|js|mht|woff2?|[to]tf"
    r"|eot|db|dat|bin|7z|rar|tar|tgz|p7s|crypt1[45])",
    re.IGNORECASE,
)


def is_note(name: str) -> bool:
    """Return True if a file or folder is not an export by its name: hidden, a note or a list of names."""
    return (
        name.startswith(".")
        or name == "__MACOSX"
        or name.lower() in ("readme.md", "desktop.ini")
        or PurePosixPath(name).suffix in (".dvc", DENY, KEEP, FORGOTTEN)
    )
