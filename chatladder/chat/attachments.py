"""Files that people sent each other: apps put them beside the messages, and they may be notes, tables, zips, anything.

They are told by where they lie and what they are called:

=========================================  ============================================================
WhatsApp's own zip                         everything beside its one chat
beside ``_chat.txt`` or a WhatsApp chat    ``00000012-notes.txt``, ``DOC-20240101-WA0001.csv``
beside Telegram's ``result.json``          what lies in ``files/``, ``chats/chat_001/`` and the like
``<export>.json_Files/``                   everything: DiscordChatExporter's downloads
=========================================  ============================================================

What lies there and is an export all the same is read: people put exports of several chats into one folder.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath

from chatladder.chat.formats import FORMATS
from chatladder.chat.source import Source
from chatladder.io.console import DataError

WHATSAPP_CHAT = re.compile(r"(?:_chat|.*whatsapp.*)\.txt", re.IGNORECASE)
WHATSAPP_FILE = re.compile(r"\d{8}-.+|(?:IMG|VID|AUD|PTT|STK|DOC)-\d{8}-WA\d{4,}\..+", re.IGNORECASE)
IOS_CHAT = "_chat.txt"
TELEGRAM_CHAT = "result.json"
TELEGRAM_FILE = re.compile(
    r"(?:chats/chat_\d+|files|images|photos|profile_pictures|round_video_messages|stickers|stories|video_files"
    r"|voice_messages)/.+"
)
DISCORD_FOLDER = re.compile(r".+\.(?:json|html|csv|txt)_Files")


def attachments(names: Sequence[PurePath], zip_name: str = "") -> set[PurePath]:
    """Those of the files of a folder or a zip that lie where attachments do.

    Args:
        names: Paths below the folder or in the zip.
        zip_name: The zip's own name.
    """
    chats = [name for name in names if WHATSAPP_CHAT.fullmatch(name.name)]
    beside_chats = {name.parent for name in chats}
    app_made_it = len(chats) == 1 and (chats[0].name == IOS_CHAT or "whatsapp" in zip_name.lower())
    telegram = {name.parent for name in names if name.name == TELEGRAM_CHAT}
    return {
        name
        for name in names
        if (
            name.parent in beside_chats
            and not WHATSAPP_CHAT.fullmatch(name.name)
            and (WHATSAPP_FILE.fullmatch(name.name) or (zip_name and app_made_it))
        )
        or any(
            outer in telegram and TELEGRAM_FILE.fullmatch(name.relative_to(outer).as_posix()) for outer in name.parents
        )
        or any(DISCORD_FOLDER.fullmatch(part) for part in name.parts[:-1])
    }


def looks_like_export(source: Source) -> bool:
    """Whether a file is in one of the formats, for all that its start tells."""
    try:
        head = source.head()
    except DataError:  # in another encoding, or damaged: an attachment may be
        return False
    return any(each.detects(source.plain_name, head) for each in FORMATS)
