"""MkDocs hooks: pages that lie elsewhere in the repository, and parts generated from its sources.

A line ``<!-- made: NAME ARGUMENT -->`` in a page becomes what ``made.py`` generates for that name, so that tables of
params, rows, stages and commands are never outdated copies.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Hooks are loaded as files; modules next to them are imported by path.
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import made  # noqa: E402 - after the path above

#: Files elsewhere in the repository that are pages too: path -> page.
ELSEWHERE = {
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "chatladder/tasks/needs_history/guidelines.md": "reference/guidelines.md",
}
_LINK = re.compile(r"(?<!!)\]\((?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_MADE = re.compile(r"^<!-- made: (\w[\w-]*)(?: ([\w./-]+))? -->$", flags=re.M)


def on_config(config: Any, **_: Any) -> Any:
    """Make the stages' commands importable, which are not installed; MkDocs restores the path after loading a hook."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return config


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the pages outside docs/."""
    for path, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any, **_: Any) -> str:
    """Generate the marked parts, and point links to the site's pages."""
    here = page.file.src_uri
    source = next((path for path, name in ELSEWHERE.items() if name == here), f"docs/{here}")

    def to_page(uri: str, anchor: str) -> str:
        return f"{get_relative_url(files.get_file_from_path(uri).url, page.url)}#{anchor}"

    markdown = _MADE.sub(lambda found: made.make(found[1], found[2], to_page), markdown)
    return _LINK.sub(lambda found: f"]({_page(found[1], source, here)}{found[2] or ''})", markdown)


def _page(target: str, source: str, here: str) -> str:
    """Return a link of a source file as a link between pages; other links are left, so that MkDocs reports them."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = ELSEWHERE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    return posixpath.relpath(page, posixpath.dirname(here) or ".") if page else target
