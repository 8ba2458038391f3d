r"""The phrases that WhatsApp writes into an export in place of content: pictures, files, deleted messages, calls.

The phrases (``whatsapp.toml``) are in the language of the phone. For a language that is not listed, form decides: the
app puts U+200E before its own words, ``(...)`` follows the name of an attached file, and iOS numbers the files that it
attaches (``<adjunto: 00000035-PHOTO-2022-03-27.jpg>``). A person who types a phrase word for word is taken for the app;
a phrase inside a sentence is not.

===========================================  =======  ==========================================
content                                      kind     text
===========================================  =======  ==========================================
picture, GIF                                 image    empty
document                                     file     its name
video, voice, sticker, contact, location,    other    empty: a contact's file is named after a
call, view-once medium, any medium                    person, a location shows where somebody is
poll                                         other    question and answers
deleted message                              system   empty
event                                        notice   empty: it is all names
any of these with a caption                  text     the caption: these are a person's words
===========================================  =======  ==========================================
"""

import re

from chatladder.chat.formats.whatsapp_headers import MARKS, WORDS

#: A kind of this module only: what iOS writes under the name of a person or of the chat, though nobody sent it.
NOTICE = "notice"
#: Extensions of attached pictures, and of files that are neither pictures nor documents.
IMAGE_FILES = "jpg jpeg png gif heic webp bmp"
OTHER_FILES = "mp4 3gp mov mkv webm opus ogg oga m4a mp3 aac amr wav vcf was"

#: No phrase in place of a medium is longer, including marks.
LONGEST_PHRASE = 100
LONGEST_NOTICE = 400
#: A phrase, folded -> kind.
_PHRASES = {phrase: kind for kind, phrases in WORDS["omitted"].items() for phrase in phrases}
_PHRASES |= {f"<{phrase}>": "other" for phrase in WORDS["media"]}
_PHRASES |= {f"<{phrase}>": kind for phrase, kind in _PHRASES.items() if phrase[0] != "<"}
_WHOLE = dict.fromkeys(WORDS["deleted"], "system") | dict.fromkeys(WORDS["other"], "other")
_ATTACHED = frozenset(WORDS["attached"])
_ENCRYPTED = tuple(WORDS["encrypted"])
_DOCUMENTS = tuple(WORDS["omitted"]["file"])
_EXTENSIONS = dict.fromkeys(IMAGE_FILES.split(), "image") | dict.fromkeys(OTHER_FILES.split(), "other")

_EDITED = frozenset(f"<{phrase}>" for phrase in WORDS["edited"])
#: Android: the file's name and words in brackets. An app-made name, or a mark, identifies it if the words are unknown.
_ANDROID_FILE = re.compile(r"(?P<mark>\u200e?)(?P<name>[^\u200e\n]{1,255}\.\w{1,8}) \((?P<words>[^()\n]{3,60})\)")
_APP_NAME = re.compile(r"(?:IMG|VID|PTT|AUD|STK|DOC)-\d{8}-WA\d{4,}\.\w{2,5}")
#: iOS: "attached" and the numbered file, 00000035-PHOTO-2022-03-27-21-41-55.jpg; before it a caption, or the document's
#: name and its pages.
_IOS_FILE = re.compile(r"<\u200e?[^<>:\n]{2,40}: ?\u200e?(?P<name>\d{6,}-[^<>\n]{1,255})>")
_PAGES = re.compile(r" • .{0,40}$")
_FILE_NAME = re.compile(r"[^\n/\\:*?\"<>|]{1,200}\.[A-Za-z]\w{0,5}")
_LOCATION = re.compile(r"[^\n:]{0,40}:? ?https://maps\.google\.com/\?q=-?[\d.]{1,20},-?[\d.]{1,20}")
#: POLL: or UMFRAGE:, a line with the question, and options with their votes; in each language one word in capitals.
_POLL = re.compile(r"\u200e?POLL:\s*\n", re.IGNORECASE)
_POLL_WORD = re.compile(r"\u200e?[^\W\d_]{3,20}:")
_POLL_OPTION = re.compile(r"\u200e?[^\W\d_]{3,20}: .{0,200}\(\u200e?\d{1,5} [^()\d]{1,20}\)")
_STICKER = re.compile(r"(?:STK-|\d+-STICKER-)")


def classify(text: str, bracketed: bool = True) -> tuple[str, str]:
    """Return kind, which may be ``NOTICE``, and text of what follows the sender.

    Args:
        text: All lines of a message, with the marks that the app set, stripped.
        bracketed: True for iOS, which puts U+200E before all of the app's own words.
    """
    text = _without_edited(text)
    folded = fold(text) if len(text) <= LONGEST_NOTICE else ""
    if kind := _WHOLE.get(folded):
        return kind, ""
    if folded.startswith(_ENCRYPTED) and "\n" not in text:
        return NOTICE, ""
    if "maps.google" in text and _LOCATION.fullmatch(MARKS.sub("", text)):
        return "other", ""
    if _POLL.match(text) or _is_poll(text):
        return "other", text
    found = _numbered_file(text)
    if found is None:
        first, _, after = text.partition("\n")
        for medium, caption in ((first, after), *([_split_at_mark(text)] if "\u200e" in text else [])):
            if plain := _medium(medium):
                found = (*plain, caption.strip())
                break
    if found is not None:
        return _with_caption(*found)
    if bracketed and text.startswith("\u200e"):
        return ("other", text) if "\n" in text else (NOTICE, "")
    return "text", text


def _is_poll(text: str) -> bool:
    """Return True if a text is a poll in a language whose word for it is unknown."""
    first, _, rest = text.partition("\n")
    if not first.isupper() or not _POLL_WORD.fullmatch(first):
        return False
    last = rest.rpartition("\n")[2]
    return last.partition(":")[0].isupper() and _POLL_OPTION.fullmatch(last) is not None


def fold(text: str) -> str:
    """Return a phrase without case, marks, and the full stop that some versions add."""
    return " ".join(MARKS.sub("", text).split()).casefold().rstrip(" .。।!")


def _without_edited(text: str) -> str:
    """Return a text without the app's word at its end that it was edited."""
    start = text.rfind("<")
    if start < 0 or fold(text[start:]).replace(".>", ">") not in _EDITED:
        return text
    return text[:start].removesuffix("\u200e").rstrip()


def _numbered_file(text: str) -> tuple[str, str, str] | None:
    """Return kind, name and caption of a message that ends in a file attached by iOS; else None."""
    start = text.rfind("<")
    match = _IOS_FILE.fullmatch(text, start) if start >= 0 else None
    if match is None:
        return None
    kind, name = _by_name(match["name"])
    before = MARKS.sub("", text[:start]).strip()
    own_name = _PAGES.sub("", before)
    if kind == "file" and _FILE_NAME.fullmatch(own_name):
        return kind, own_name, ""
    return kind, name.partition("-")[2], before


def _split_at_mark(text: str) -> tuple[str, str]:
    """Return the text after the last mark that the app set, and the caption before it."""
    before, _, after = text.rpartition("\u200e")
    return after, before


def _medium(text: str) -> tuple[str, str] | None:
    """Return kind and file name of a medium, if the text is what the app writes for one; else None."""
    if len(text) <= LONGEST_PHRASE and (kind := _PHRASES.get(fold(text))):
        return kind, ""
    if match := _ANDROID_FILE.fullmatch(text.strip()):
        if match["mark"] or match["words"].casefold() in _ATTACHED or _APP_NAME.fullmatch(match["name"]):
            return _by_name(match["name"])
        return None
    bare = MARKS.sub("", text).strip().rstrip(".")
    for phrase in _DOCUMENTS if bare.casefold().endswith(_DOCUMENTS) else ():
        name = _PAGES.sub("", bare[: -len(phrase)].rstrip())
        if bare.casefold().endswith(phrase) and _FILE_NAME.fullmatch(name):
            return "file", name
    return None


def _by_name(name: str) -> tuple[str, str]:
    """Return the kind of an attached file, and its name if that is worth keeping."""
    kind = _EXTENSIONS.get(name.rpartition(".")[2].lower(), "file")
    if _STICKER.match(name):
        kind = "other"
    return kind, name if kind == "file" else ""


def _with_caption(kind: str, name: str, caption: str) -> tuple[str, str]:
    """Return a medium with a caption as a text, and without one as itself."""
    if not caption:
        return kind, name
    if kind in ("other", "file") and not name and _FILE_NAME.fullmatch(MARKS.sub("", caption)):
        return "file", MARKS.sub("", caption)  # Android writes a document's name in place of a caption
    return "text", caption
