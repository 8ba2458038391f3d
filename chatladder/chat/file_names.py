"""What the names of files tell: which are media, notes or lists of names beside exports; without the formats."""

import re
from pathlib import PurePosixPath

#: Lists of names that a person wants out of every text, or kept in though somebody is called so, and of the marks of
#: members who are forgotten; they are no exports.
DENY, KEEP, FORGOTTEN = ".deny", ".keep", ".forgotten"
#: What exports hold beside their messages: pictures, sound and films; documents that people send, and pages that an
#: exporter makes of the same messages.
MEDIA = re.compile(
    r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|hei[cf]|avif|ico|tgs|was|apng|mp[34]|m4[av]|og[agv]|opus|wav|aac|flac|amr|wma"
    r"|mov|webm|mkv|avi|3gp|wmv|pdf|docx?|xlsx?|pptx?|od[tsp]|rtf|epub|vcf|ics|apk|exe|dmg|iso|html?|css|js|mht|woff2?|[to]tf"
    r"|eot|db|dat|bin|7z|rar|tar|tgz|p7s|crypt1[45])",
    re.IGNORECASE,
)


def is_note(name: str) -> bool:
    """Whether a file or folder of this name lies among exports and is none: hidden, a note, a list of names."""
    return (
        name.startswith(".")
        or name == "__MACOSX"
        or name.lower() in ("readme.md", "desktop.ini")
        or PurePosixPath(name).suffix in (".dvc", DENY, KEEP, FORGOTTEN)
    )
