"""The page itself: a template filled in, everything of the chat escaped and made harmless on its way."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from chatladder.cli.annotate.display import clock, literal
from chatladder.cli.report import words
from chatladder.evaluation.figures import short_count

#: Nothing may be loaded and nothing run, not even what an escape would have missed: one style sheet, by its hash.
_POLICY = "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'"


def _harmless(value: Any) -> Any:
    """What an expression of the template gives, without characters that act; it is escaped after this."""
    from markupsafe import Markup

    if value is None:
        return "–"
    return literal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(context: Mapping[str, Any]) -> str:
    """Fill in the page.

    Args:
        context: What the template shows, by name.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("chatladder.cli.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "signed": words.signed,
        "plain": words.plain,
        "count": words.count,
        "short_count": short_count,
        "state": words.state,
        "way": lambda each: words.direction(each.old, each.new),
        "clock": clock,
    }
    style = files("chatladder.cli.report").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.get_template("report.html")
    return template.render(**context, style=Markup(style), policy=_POLICY.format(digest))
