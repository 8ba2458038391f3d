"""Shared parts of tools that read WeChat's and QQ's databases: marks for content other than text, quotations, notices.

They write such texts in place of other content (sources in the modules that use this)::

    [图片]  ![图片](http://...)  【图片】                    a picture
    [文件] a.pdf  [文件|a.pdf](http://...)  【文件】a.pdf     a file
    [链接|title](https://...)  【分享链接】...                a link, a mini program, a song
    [动画表情]  [语音]  [合并转发|title]...                   everything that is neither text nor one of these

A name that WeChat's client inserts into a text ends with a four-per-em space. The account id of that name may be given
elsewhere; if it is not, the name is reported by itself, and so is every name in a notice.
"""

import re
from collections.abc import Mapping, Sequence

from chatladder.chat.formats import wechat
from chatladder.chat.formats.qq import meet_in_notice
from chatladder.chat.message import People

#: The person who made an export, if it lacks their id; and senders that are nobody.
SELF = "我"
NOBODY = frozenset({"", "未知", "系统", "系统消息", "SYSTEM"})
#: WeChat's type numbers (xaoyaoo/PyWxDump: pywxdump/db/utils/common_utils.py); 49 is decided by a subtype.
KIND_OF_TYPE: Mapping[str, str] = {"1": "text", "3": "image", "10000": "system", "10002": "system"}
KIND_OF_SUBTYPE: Mapping[str, str] = {
    "57": "text", "6": "file", "74": "file",
    **dict.fromkeys(("3", "4", "5", "33", "36", "51", "63", "92"), "link"),
}  # fmt: skip

_IMAGE = "图片"
_FILE = "文件"
_LINK = "链接|分享|分享链接|小程序|视频号|视频号直播|音乐|音乐分享"
#: Marks without content, and marks with some.
_ALONE = "动画表情|表情包|表情|GIF表情|视频|语音|语音消息|语音通话|视频通话|红包|红包封面|其他消息|引用|引用消息|消息"
_MORE = (
    "名片|位置|位置分享|合并转发|合并转发的聊天记录|聊天记录|笔记|群公告|转账|音视频通话|通话|发起转账|已收款|已退还"
    "|语音消息 - 转文字失败|语音消息 - 转文字功能未启用"
)
MARK = re.compile(
    rf"!?[\[【](?:(?P<image>{_IMAGE})|(?P<file>{_FILE})|(?P<link>{_LINK})|(?P<alone>{_ALONE})|(?P<other>{_MORE}))"
    r"(?:[|：:](?P<title>[^\]】\n]{0,400}))?[\]】](?:\((?P<url>[^()\s]{0,2000})\))?(?P<rest>.*)",
    re.DOTALL,
)
_KINDS = ("image", "file", "link", "alone", "other")
#: A file saved with the export, in place of a text (hicccc77/WeFlow: electron/services/exportService.ts).
SAVED = re.compile(
    r"(?:[^\s/]{1,200}/){0,6}(?P<folder>images|voices|videos|emojis|files)/(?P<name>[^/\n]{1,255}\.\w{1,5})"
)
#: The same in a column of a table.
LABEL = re.compile(
    rf"(?P<text>文本|文本消息|text|引用回复|引用消息)|(?P<image>{_IMAGE}|图片消息|image)|(?P<file>{_FILE}|文件消息|file)"
    rf"|(?P<link>{_LINK}|链接消息|链接分享|小程序消息|音乐消息|(?:（|\()分享(?:）|\)).*)|(?P<system>系统.*|消息撤回.*|拍一拍|邀请加群)"
)
_LINK_MARK = re.compile(rf"^\s*[\[【](?:{_LINK})[\]】]")
_MARKDOWN = re.compile(r"\[([^\[\]\n]{0,400})\]\((https?://[^()\s]{1,2000})\)")
_TITLE = re.compile(r"标题[:：] ?([^\n]*)")
_URL = re.compile(r"https?://[^\s\"'<>]+")
#: A link written as HTML contains only the URL.
_ANCHOR = re.compile(r"<a href=\"[^\"<>]*\">[^<>]*</a>")
#: WeChat's own words, in layouts that do not distinguish them from a member's.
NOTICE = re.compile(
    r"(?:[“\"][^“”\"\n]{1,64}[”\"]|你|我)\s?(?:撤回了一条消息|加入了?群聊|修改群名为|拍了拍|与群里其他人都不是).{0,400}"
    r"|[^\n]{1,64}?(?:撤回了一条消息|(?:邀请|通过扫描)[^\n]{1,400}加入了?群聊|将[^\n]{1,200}移出了?群聊)"
)
#: WeFlow's mark at the end of a text that answers another (hicccc77/WeFlow: electron/services/exportService.ts).
QUOTE = re.compile(r"\[引用 (?:(?P<name>[^\n：\]]{1,64})：)?")
_QUOTED_NAME = re.compile(r"[“\"]([^“”\"\n]{1,64})[”\"]")
_EVERYBODY = "所有人"
#: Ids of mentioned people, in what WeChat stores with a text.
_AT_LIST = re.compile(r"<atuserlist>(?:<!\[CDATA\[)?([^<>\[\]]{1,8000})")


def content_of(text: str) -> tuple[str, str]:
    """Return kind and text of a message's content in a layout without kinds."""
    if NOTICE.fullmatch(text):
        return "system", ""
    if saved := SAVED.fullmatch(text):
        kind = {"images": "image", "files": "file"}.get(saved["folder"], "other")
        return kind, saved["name"] if kind == "file" else ""
    match = MARK.fullmatch(text)
    if match is None:
        return "text", text
    kind = next(name for name in _KINDS if match[name])
    rest = match["rest"].strip()
    is_typed = text[0] == "[" and match["title"] is None and match["url"] is None
    if rest and is_typed and kind in ("image", "alone"):
        return "text", text
    if kind == "file":
        return kind, match["title"] or rest.partition("\n")[0].strip()
    if kind == "link":
        return kind, link_text("\n".join(filter(None, (match["title"], match["url"], rest))))
    return ("image" if kind == "image" else "other"), ""


def kind_of(label: str) -> str:
    """Return the kind of a message from the column that names it."""
    match = LABEL.fullmatch(label.strip())
    return (match.lastgroup if match else None) or "other"


def kind_of_type(type_: str, subtype: str) -> str:
    """Return the kind of a message from WeChat's type numbers."""
    return KIND_OF_SUBTYPE.get(subtype, "other") if type_ == "49" else KIND_OF_TYPE.get(type_, "other")


def link_text(text: str) -> str:
    """Return title and URL of a link, in one line."""
    if match := _MARKDOWN.search(text):
        return " ".join(filter(None, match.groups()))
    title, url = _TITLE.search(text), _URL.search(text)
    words = title[1] if title else _URL.sub("", _ANCHOR.sub("", _LINK_MARK.sub("", text))).strip().partition("\n")[0]
    return " ".join(filter(None, (words.strip(), url[0] if url else "")))


def without_quote(text: str, quote: re.Pattern[str], people: People) -> str:
    """Return a person's words before a quotation; the quoted person is reported.

    Args:
        text: The text.
        quote: Matches the start of a quotation, with a group ``name``.
        people: The people of the file.
    """
    match = quote.search(text)
    if match is None:
        return text
    people.stranger(match["name"] or "")
    return text[: match.start()].strip()


def meet_in(notice: str, people: People) -> None:
    """Report the people whom a notice names, in quotes or by their position in it."""
    names = _QUOTED_NAME.findall(notice[:4000])
    for name in names:
        people.stranger(name)
    if not names:
        meet_in_notice(notice, people)


def with_mentions(text: str, people: People, ids: Sequence[str] = ()) -> str:
    """Return a text with pseudonyms for mentions whose ids are given; a name without an id is reported by itself."""
    if "@" not in text:
        return text
    if ids:
        return wechat.replace_mentions(text, list(ids), people)
    text = text.replace(f"@{_EVERYBODY}\u2005", "@all ")
    for pattern in (wechat.INSERTED_MENTION, wechat.CHINESE_MENTION):
        for name in pattern.findall(text):
            if name != _EVERYBODY:
                people.stranger(name)
    return text


def mentioned_ids(markup: str) -> list[str]:
    """Return the ids of mentioned people from what WeChat stores with a text."""
    match = _AT_LIST.search(markup)
    return [each for each in match[1].split(",") if each.strip()] if match else []
