"""Texts of Slack messages that hold blocks alone, as Slack stores other texts, with its markup.

A message's text repeats what its blocks say, but for some that apps, workflows and newer clients send. The blocks
and elements are those of Slack's reference (docs.slack.dev/reference/block-kit/blocks)::

    [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "text", "text": "ask "}, {"type": "user", "user_id": "U2"}]}]}]
"""

from collections.abc import Iterator
from typing import Any

from chatladder.chat.formats.json_stream import object_of, objects_of, text_of

#: Parts of a rich text that stand on lines of their own.
LINES = ("rich_text_section", "rich_text_quote", "rich_text_preformatted")


def blocks_text(blocks: Any) -> str:
    """What blocks say, a line for each part; empty if they say nothing."""
    return "\n".join(line for block in objects_of(blocks) for line in _lines(block) if line.strip())


def _lines(block: dict[str, Any]) -> Iterator[str]:
    elements = objects_of(block.get("elements"))
    if block.get("type") == "rich_text":
        for part in elements:
            items = objects_of(part.get("elements"))
            if part.get("type") == "rich_text_list":
                yield from (_spoken(objects_of(item.get("elements"))) for item in items)
            elif part.get("type") in LINES:
                yield _spoken(items)
        return
    # Texts of a section, a header, a context; a block of Markdown has its text as it is.
    yield text_of(block.get("text"))
    for each in (object_of(block.get("text")), *objects_of(block.get("fields")), *elements):
        if each.get("type") in ("mrkdwn", "plain_text"):
            text = text_of(each.get("text"))
            yield text if each["type"] == "mrkdwn" else _escaped(text)


def _spoken(elements: list[dict[str, Any]]) -> str:
    return "".join(map(_element, elements))


def _element(element: dict[str, Any]) -> str:
    """One element in Slack's markup."""
    fields = {name: text_of(value) for name, value in element.items()}
    match fields.get("type", ""):
        case "text":
            return _escaped(fields.get("text", ""))
        case "user":
            return f"<@{fields.get('user_id', '')}>"
        case "channel":
            return f"<#{fields.get('channel_id', '')}>"
        case "broadcast":
            return f"<!{fields.get('range', '')}>"
        case "usergroup":
            return "<!subteam>"
        case "emoji":
            return f":{fields.get('name', '')}:"
        case "link":
            return _escaped(fields.get("text") or fields.get("url", ""))
        case "date":
            return _escaped(fields.get("fallback", ""))
    return ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
