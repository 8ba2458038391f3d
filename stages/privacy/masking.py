"""Personal data in texts, replaced by what it was: <phone>, <email>, <id>, <key>, <ip>.

Patterns of the common forms, not a guarantee: addresses in free text stay, and names are the business of
``stages.privacy.names``. Version numbers, timestamps and sizes must survive, since technical questions are made of
them, and so must loopback addresses and netmasks, which are nobody's. Full-width digits and invisible characters
do not hide anything.

========= ==============================================================================================
<key>     vendors' tokens, JWTs, private keys, long random strings, the password in a URL, and what is set
          as a password, secret or token (``password=...``, ``密码：...``)
<id>      Chinese resident ids, WeChat and QQ ids, passports where they are called so; by their check digits:
          payment cards (Luhn), IBAN, US social security numbers
<email>   addresses, but git@host, which is how repositories are named
<ip>      IPv4 and IPv6, not loopback and netmasks
<phone>   Chinese mobile and landline numbers, US ones with separators, any international one (+...); the
          national forms of other countries on demand, by ``phonenumbers``
========= ==============================================================================================

Every pattern is bounded or anchored, so no text makes it slow. Masking a masked text changes nothing. Vendors'
patterns are ours: ``detect-secrets`` has most of them, but gives secrets without their place, knows no token of
Anthropic, Hugging Face or Google, and some of its patterns take the square of a line's length.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from stages.privacy.folding import narrow

KINDS = ("key", "id", "email", "ip", "phone")

PATTERNS = {
    "key": (
        r"(?<![A-Za-z0-9_-])(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
        r"|gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{20,}"
        r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}"
        r"|A[BCKS][CI]A[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|LTAI[A-Za-z0-9]{12,}"
        r"|AKID[A-Za-z0-9]{13,}|pypi-[A-Za-z0-9_-]{16,}|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}"
        r"|[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}|[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"
        r"|eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,4000}(?:\.[A-Za-z0-9_-]+)?)"
        r"|(?<=hooks\.slack\.com/services/)[A-Z0-9a-z/]{20,}|(?<=/api/webhooks/)[0-9]{10,}/[A-Za-z0-9_-]{20,}"
        r"|-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*"
        r"(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
        r"|PuTTY-User-Key-File-[0-9][^<]*"
        # A name and a password in a URL.
        r"|(?<=://)[^\s/:@<>?#]{0,64}:[^\s/@<>]{1,128}(?=@)"
        # A long run of hex, or of letters in both cases and digits: a hash or a token, never a word.
        r"|(?<![A-Za-z0-9])(?:[0-9a-f]{32,}|[0-9A-F]{32,})(?![A-Za-z0-9])"
        r"|(?<![A-Za-z0-9])(?=[A-Za-z0-9]{32})(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[a-z])"
        r"(?=[A-Za-z0-9]*[A-Z])[A-Za-z0-9]+(?![A-Za-z0-9])"
        r"|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,}={1,2}(?![A-Za-z0-9=])"
    ),
    "id": (
        r"(?<![A-Za-z0-9])(?:[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
        r"|wxid_[A-Za-z0-9_-]{4,}|gh_[0-9a-f]{12}|\d{5,20}@(?:chatroom|openim|[sgc]\.us|s\.whatsapp\.net))(?![A-Za-z0-9])"
    ),
    # git@host is how repositories are named.
    "email": (
        r"(?<![A-Za-z0-9._%+-])(?!git@)[A-Za-z0-9._%+-]{1,64}"
        r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
    ),
    "ip": (
        # Four single digits are a version (1.7.9.5), or a public resolver.
        r"(?<![A-Za-z0-9._=~<>-])(?!127\.|0\.0\.0\.0|255\.|\d\.\d\.\d\.\d(?!\d))"
        r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?![A-Za-z0-9_]|\.\d|-\d)"
        r"|(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![A-Za-z0-9_:])"
        r"|(?<![A-Za-z0-9_:.])(?:fe80|f[cd][0-9A-Fa-f]{2}|2[0-9A-Fa-f]{3}):(?:[0-9A-Fa-f]{1,4}:){0,6}"
        r":[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}(?![A-Za-z0-9_:])"
    ),
    "phone": (
        # A mainland mobile number, unless a unit follows (17179869184 bytes are 16 GiB);
        # after id= it is a web page's.
        r"(?<![A-Za-z0-9_.+-])(?<!id=)(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?P<dash>[ .-]?)\d{4}(?P=dash)\d{4}"
        r"(?!\d|\.\d|-\d|[ ]?(?:[KMGT]i?B|[Bb]ytes?|B)\b|[ ]?字节)"
        r"|(?<![A-Za-z0-9_+.])\+[1-9](?:[ ()-]{0,2}\d){7,14}(?!\d)"
        # A landline's area code is 10, 2x or three digits.
        r"|(?<![A-Za-z0-9_.-])(?:0\d{2,3}-|\(0\d{2,3}\) ?|0(?:10|2\d) )[2-9]\d{6,7}(?![\d-])"
        r"|(?<![A-Za-z0-9_.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}-)\d{3}-\d{4}(?![\d-])"
    ),
}
PERSONAL = re.compile("|".join(f"(?P<{kind}>{PATTERNS[kind]})" for kind in KINDS), re.ASCII)

#: A value that is called a secret: a password is anything, a token has letters and digits.
_VALUE = r"[!#-&*+./0-9:=?@A-Z\[\\\]^_a-z{|}~-]"
CALLED_KEY = re.compile(
    rf"(?:pass(?:word|wd|phrase|wort)?|pwd|密码|口令)(?:[\"'`]?[ ]?(?:=>?|[:：])|是|为)[ ]?"
    rf"(?:[\"'`](?P<quoted>[^\"'`<>\n]{{1,256}})(?=[\"'`])|[\"'`]?(?P<password>{_VALUE}{{4,256}}))"
    rf"|(?:secret(?:[_-]?access)?(?:[_-]?key)?|api[_-]?key|access[_-]?key(?:[_-]?id)?|token|private[_-]?key|密钥|令牌)"
    rf"(?:[\"'`]?[ ]?(?:=>?|[:：])|是|为)[ ]?[\"'`]?(?=[A-Za-z_+/.-]{{0,64}}[0-9])(?=[0-9_+/.-]{{0,64}}[A-Za-z])"
    r"(?P<token>[A-Za-z0-9_+/=~.-]{8,512})"
    rf"|authorization[\"']?[:=][ ]?[\"']?(?:basic |bearer |token )?(?P<header>[A-Za-z0-9_+/=~.-]{{8,4000}})"
    rf"|bearer (?=[A-Za-z_+/.-]{{0,64}}[0-9])(?P<bearer>[A-Za-z0-9_+/=~.-]{{12,4000}})",
    re.IGNORECASE,
)
CALLED_ID = re.compile(
    r"(?:护照|通行证|身份证|驾照|passport|driver'?s licen[cs]e)(?:号码?| number| no\.?)?[^A-Za-z0-9<]{0,4}"
    r"(?P<document>[A-Za-z]{0,2}[0-9]{6,18}[Xx]?)(?![A-Za-z0-9])"
    r"|(?<![A-Za-z])QQ(?:号码?|群号?)?[ :：是]{0,3}(?P<qq>[1-9][0-9]{4,10})(?![A-Za-z0-9.])"
    r"|(?:微信号?|weixin|wechat|(?<![A-Za-z])[vw]x)(?: ?id)?[ ]?[:：是][ ]?"
    r"(?P<wechat>(?=[A-Za-z_-]{0,20}[0-9_])[A-Za-z][A-Za-z0-9_-]{5,19})(?![A-Za-z0-9_-])",
    re.IGNORECASE,
)
#: What only check digits tell from other numbers.
CHECKED = re.compile(
    r"(?<![A-Za-z0-9_.+-])(?:(?P<card>[2-6]\d(?:[ -]?\d){11,17})"
    r"|(?P<ssn>\d{3}-\d{2}-\d{4})|(?P<iban>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?))"
    r"(?![A-Za-z0-9_]|[.-]\d)",
    re.ASCII,
)
#: A national phone number as somebody may write it: with separators, or with the 0 of an area code.
NATIONAL = re.compile(
    r"(?<![A-Za-z0-9_.+:/=-])(?:\(?0\d|\(?\d{1,5}[ ().-]{1,2}\d)[\d ().-]{4,18}\d(?![A-Za-z0-9_:]|[.-]\d)", re.ASCII
)
#: Payment cards by their first digits and lengths: Visa, Mastercard, American Express, UnionPay, JCB, Discover.
_CARD = re.compile(
    r"4(?:\d{12}|\d{15})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|62\d{14,17}|35\d{14}|6(?:011|5\d\d)\d{12}", re.ASCII
)
#: Values that stand for a password and are none.
_NO_PASSWORD = re.compile(
    r"(?:none|null|true|false|str|string|bytes|optional|required|password|passwd|pass|text|wrong|incorrect|correct"
    r"|empty|x+|\*+|\.+|[-_=]+)(?![^.!?])|[$%{\[]|[A-Za-z_]{1,32}\.[a-z_]|/[a-z]",
    re.IGNORECASE,
)
#: What every match holds somewhere, or else one of the words below in lower case; most texts hold none of it, which
#: saves the search.
SUSPECT = re.compile(
    r"\d[\d .()\u00ad\u200b-\u200f\u2060\ufeff-]{5}|[@＠]|(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16}|:[0-9A-Fa-f]{0,4}:"
)
SUSPECT_WORDS = (
    *("pass", "pwd", "token", "secret", "key", "bearer", "authoriz", "licen", "qq", "wx", "vx", "wechat", "weixin"),
    *("gh_", "xox", "微信", "密", "口令", "令牌", "护照", "通行证", "身份证", "驾照"),
)
#: Each makes the next ones' surroundings; a second round is rare, a third was never seen.
MOST_ROUNDS = 5


class Found(NamedTuple):
    """A stretch of a text and what it is."""

    start: int
    end: int
    kind: str


def mask(text: str, counts: Counter[str], regions: Sequence[str] = ()) -> str:
    """Replace personal data by its placeholder, and count each under its kind.

    Args:
        text: One message.
        counts: Gains one for each replacement, by kind.
        regions: Countries (ISO 3166: GB, FR) whose phone numbers count without their +, too.
    """
    shapes = SUSPECT.search(text) is not None
    lower = text.lower()
    words = any(map(lower.__contains__, SUSPECT_WORDS))
    finders: tuple[Callable[[str], Iterator[Found]], ...] = (
        *((_called,) if words else ()),
        *((_personal,) if shapes or words else ()),
        *((_checked,) if shapes else ()),
    )
    if regions and shapes:
        finders = (*finders, partial(_national, regions=regions))
    for _ in range(MOST_ROUNDS if finders else 0):
        masked = text
        for find in finders:
            masked = _replace(masked, find, counts)
        if masked == text:
            break
        text = masked
    return text


def _replace(text: str, find: Callable[[str], Iterator[Found]], counts: Counter[str]) -> str:
    plain = narrow(text)
    pieces: list[str] = []
    done = 0
    for start, end, kind in find(plain.text):
        first, last = plain.span(start, end)
        if first < done:
            continue
        pieces += (text[done:first], f"<{kind}>")
        done = last
        counts[kind] += 1
    return "".join((*pieces, text[done:])) if pieces else text


def _personal(text: str) -> Iterator[Found]:
    for match in PERSONAL.finditer(text):
        kind = next(name for name in KINDS if match[name] is not None)
        yield Found(*match.span(kind), kind)


def _called(text: str) -> Iterator[Found]:
    """What the text itself calls a secret or an id."""
    found = []
    for match in CALLED_KEY.finditer(text):
        group = next(name for name in ("quoted", "password", "token", "header", "bearer") if match[name] is not None)
        if group not in ("quoted", "password") or _is_password(match, group):
            start, end = match.span(group)
            # A number with spaces in it goes as a whole.
            longer = (pattern.match(text, start) for pattern in (PERSONAL, CHECKED))
            found.append(Found(start, max(end, *(other.end() if other else end for other in longer)), "key"))
    for match in CALLED_ID.finditer(text):
        group = next(name for name in ("document", "qq", "wechat") if match[name] is not None)
        found.append(Found(*match.span(group), "id"))
    return iter(sorted(found))


def _is_password(match: re.Match[str], group: str) -> bool:
    """A bare value of letters alone is a password only where nothing follows: ``password: and then`` is a sentence."""
    if _NO_PASSWORD.match(match[group]):
        return False
    if group == "quoted":
        return True
    sentence = match["password"].rstrip(".!?").isalpha() and "=" not in match[0] and match[0].isascii()
    return not sentence or not match.string[match.end() : match.end() + 80].strip()


def _checked(text: str) -> Iterator[Found]:
    for match in CHECKED.finditer(text):
        if match["card"] is not None:
            digits = re.sub("[ -]", "", match[0])
            valid = _CARD.fullmatch(digits) is not None and _is_valid("luhn", digits)
        else:
            valid = _is_valid("us.ssn" if match["ssn"] is not None else "iban", match[0])
        if valid:
            yield Found(*match.span(), "id")


def _is_valid(module: str, number: str) -> bool:
    import importlib

    return bool(importlib.import_module(f"stdnum.{module}").is_valid(number))


def _national(text: str, regions: Sequence[str]) -> Iterator[Found]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for run in NATIONAL.finditer(text):
        matches = (each for region in regions for each in PhoneNumberMatcher(run[0], region, Leniency.VALID, 3))
        for each in sorted(matches, key=lambda each: (each.start, -each.end)):
            yield Found(run.start() + each.start, run.start() + each.end, "phone")
