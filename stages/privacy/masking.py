"""Personal data in texts, replaced by what it was: <phone>, <email>, <id>, <key>, <ip>.

Patterns of the common forms, not a guarantee: addresses in free text stay, and names are the business of
``stages.privacy.names``. Version numbers, timestamps, sizes and checksums must survive, since technical questions are
made of them, and so must private and loopback addresses and netmasks, which are nobody's. Full-width digits and
invisible characters do not hide anything, nor do underscores, equals signs or Chinese letters beside a number.

========= ==============================================================================================
<key>     what a text calls a password, a code or a token, or gives a program as one (``stages.privacy.announced``);
          vendors' tokens and long random strings (``stages.privacy.tokens``); private keys; the password in a URL
<id>      Chinese resident ids and plates, WeChat and QQ ids, hardware addresses, passports and other documents where
          they are called so; by their check digits: payment cards (Luhn), IBAN, US social security numbers, CPF
<email>   addresses, also in other scripts and as "name at host dot com", but git@host, which names repositories
<ip>      public IPv4, and IPv6
<phone>   Chinese mobile and landline numbers, US ones with separators, any international one (+ or 00), the national
          forms of some countries that look like nothing else, and any number that a text calls a phone's; all other
          national forms on demand, by ``phonenumbers``
========= ==============================================================================================

Every pattern is bounded or anchored, so time grows with the length of a text and no faster. Masking a masked text
changes nothing. The patterns are ours: of 488 rules that ``kingfisher`` has and 222 of ``gitleaks`` none knows a
phone, an id or a password in a sentence, and ``detect-secrets`` gives secrets without their place.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from stages.privacy.announced import AUTOMATON, find_announced
from stages.privacy.folding import narrow
from stages.privacy.tokens import find_tokens

KINDS = ("key", "id", "email", "ip", "phone")

#: A number ends here: a letter, a digit, or a sign with a digit after it would go on.
_END = r"(?![A-Za-z0-9]|[.-]\d)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#: A label with letters of other scripts.
_ANY_LABEL = r"[^\W_](?:[^\W_]|-){0,62}"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PROVINCE = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

PATTERNS = {
    "key": (
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*"
        r"(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
        r"|PuTTY-User-Key-File-[0-9][^<]*"
        # A name and a password in a URL.
        r"|(?<=://)[^\s/:@<>?#]{0,64}:[^\s/@<>]{1,128}(?=@)"
        # A hash of a password, as in /etc/shadow.
        r"|(?<![A-Za-z0-9$])\$(?:[156y]|2[abxy]|argon2id?)\$[A-Za-z0-9./$=,+-]{20,200}"
    ),
    "id": (
        r"(?<![A-Za-z0-9])(?:[1-9]\d{5}[ ]?(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ ]?\d{3}[\dXx]"
        r"|wxid_[A-Za-z0-9_-]{4,40}|gh_[0-9a-f]{12}|\d{5,20}@(?:chatroom|openim|[sgc]\.us|s\.whatsapp\.net))"
        r"(?![A-Za-z0-9])"
        # A hardware address, but not the broadcast one.
        r"|(?<![A-Za-z0-9:.-])(?!(?:00|ff|FF)(?P<mac>[:-])(?:00|ff|FF)(?P=mac)(?:00|ff|FF)(?P=mac))"
        r"(?:[0-9A-Fa-f]{2}(?P<by>[:-])(?:[0-9A-Fa-f]{2}(?P=by)){4}[0-9A-Fa-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}"
        r"|(?:[0-9A-F]{4}\.){2}[0-9A-F]{4})(?![A-Za-z0-9:]|[.-][0-9A-Fa-f])"
        rf"|(?<![更最全创里讯])[{_PROVINCE}][A-Z][ ·•]?(?=[A-Z]{{0,4}}\d)[A-HJ-NP-Z0-9]{{5,6}}(?![A-Za-z0-9])"
    ),
    "email": (
        # git@host is how repositories are named.
        rf"(?<![A-Za-z0-9._%+-])(?!git@)[A-Za-z0-9._%+-]{{1,64}}@(?:{_LABEL}\.){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
        rf"|(?:(?<![A-Za-z0-9._%+-])(?!git@)[A-Za-z0-9._%+-]{{1,64}}|(?<!\w)\w[\w.+-]{{0,63}})@(?:{_ANY_LABEL}\.){{1,8}}"
        r"(?:xn--[A-Za-z0-9-]{2,59}|中国|中國|公司|网络|網絡|在线|网址|集团|我爱你|香港|台湾|台灣|新加坡"
        r"|[\u0400-\u04ff]{2,12}|[A-Za-z]{2,24})(?![A-Za-z0-9])"
        rf"|\"[^\"@<>\n]{{1,64}}\"@(?:{_LABEL}\.){{1,8}}[A-Za-z]{{2,24}}"
        rf"|(?<![A-Za-z0-9._-]){_WORD}[ ]?[(\[{{][ ]?(?:at|AT|At|@)[ ]?[)\]}}][ ]?{_WORD}"
        rf"(?:[ ]?[(\[{{][ ]?(?:dot|DOT|\.)[ ]?[)\]}}][ ]?|[ ](?:dot|DOT)[ ]|\.)[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
        rf"|(?<![A-Za-z0-9._-]){_WORD}[ ](?:at|AT)[ ]{_WORD}(?:[ ](?:dot|DOT)[ ]{_WORD}){{0,2}}[ ](?:dot|DOT)[ ]"
        r"(?:com|net|org|edu|de|cn|uk|fr|io|me|ru|jp|in|info|COM|NET|ORG|EDU|DE|CN|UK|FR|IO)(?![A-Za-z0-9])"
    ),
    "ip": (
        # Private addresses and netmasks are nobody's; four single digits are a version (1.7.9.5), or a resolver.
        r"(?<![A-Za-z0-9.~-])(?<![=<>!~]=)"
        r"(?!127\.|0\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|2(?:2[4-9]|[345]\d)\.|\d\.\d\.\d\.\d(?!\d))"
        rf"(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9]|\.\d|-\d|_(?:amd64|i\d86|x86|x64|arm|all|win|linux)|\.(?:deb|rpm|tar))"
        r"|(?<![A-Za-z0-9:.])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![A-Za-z0-9:])"
        r"|(?<![A-Za-z0-9:.])(?:fe80|f[cd][0-9A-Fa-f]{2}|2[0-9A-Fa-f]{3}):(?:[0-9A-Fa-f]{1,4}:){0,6}"
        r":(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?(?![A-Za-z0-9:])"
    ),
    "phone": (
        # A mainland mobile number, unless a unit follows (17179869184 bytes are 16 GiB);
        # after id= it is a web page's.
        r"(?<![A-Za-z0-9.+-])(?<!id=)(?:(?:\+|00)?86[ -]?)?1[3-9]"
        r"(?:\d(?P<dash>[ .-]?)\d{4}(?P=dash)\d{4}|\d(?P<gap>[ -])\d{3}(?P=gap)\d{5}|\d{2}(?P<two>[ -])\d{3}(?P=two)\d{4}"
        r"|\d{2}(?P<last>[ -])\d{4}(?P=last)\d{3}|\d[ -]\d{8})"
        r"(?!\d|\.\d|-\d|[ ]?(?:[KMGT]i?B|[Bb]ytes?|B)(?![A-Za-z0-9\u4e00-\u9fff])|[ ]?字节)"
        r"|(?<![A-Za-z0-9+.])\+[1-9](?:[ ]?[().\-/]?[ (]?\d){7,14}(?!\d)"
        # A Chinese landline's area code is 10, 2x or three digits; 400 and 800 are hotlines.
        r"|(?<![A-Za-z0-9.-])(?:(?:0\d{2,3}-|\(0\d{2,3}\) ?|0(?:10|2\d) )[2-9]\d{6,7}|0\d{2,3}[ -][2-9]\d{2,3}[ -]\d{4}"
        rf"|[48]00-\d{{3}}-\d{{4}}|[48]00-\d{{4}}-\d{{3}}){_END}(?!\d)"
        # The US and Canada.
        r"|(?<![A-Za-z0-9.-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}(?P<us>[.-]))\d{3}(?:(?P=us)|-)\d{4}(?![\d-]|\.\d)"
        # France, the mobile numbers of the UK, Australia, Germany, Russia, Brazil, and those of Japan and Korea.
        rf"|(?<![A-Za-z0-9.-])(?:0[1-9](?P<fr>[ .-])\d\d(?P=fr)\d\d(?P=fr)\d\d(?P=fr)\d\d|07\d{{3}} \d{{6}}"
        r"|04\d\d \d{3} \d{3}|01[5-7]\d(?:/|[ ]?/[ ]?|-)\d{7,8}|8[ -]?\(?9\d\d\)?[ -]\d{3}-\d\d-\d\d|\(\d\d\) 9?\d{4}-\d{4}"
        rf"|0[1-9]0-\d{{3,4}}-\d{{4}}){_END}"
    ),
}
PERSONAL = re.compile("|".join(f"(?P<{kind}>{PATTERNS[kind]})" for kind in KINDS), re.ASCII)
#: Before four numbers with dots: they are a version.
_VERSION = re.compile(
    r"(?:version|\bver|\bv|release|firmware|build|driver|plugin|flash|kernel|chrom\w+|opera|java|版本|固件|驱动)[ :=.]{0,3}\Z",
    re.IGNORECASE,
)
#: What only check digits tell from other numbers.
CHECKED = re.compile(
    r"(?<![A-Za-z0-9.+-])(?:(?P<card>[2-6]\d(?:[ -]?\d){11,17})"
    r"|(?P<ssn>\d{3}-\d{2}-\d{4})|(?P<cpf>\d{3}\.\d{3}\.\d{3}-\d{2})"
    r"|(?P<iban>[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?)"
    r"|(?P<abroad>00[1-9](?:[ ]?[().\-/]?[ (]?\d){8,13}))"
    r"(?![A-Za-z0-9]|[.-]\d)",
    re.ASCII,
)
_STDNUM = {"card": "luhn", "ssn": "us.ssn", "cpf": "br.cpf", "iban": "iban"}
#: A national phone number as somebody may write it: with separators, or with the 0 of an area code.
NATIONAL = re.compile(
    r"(?<![A-Za-z0-9.+:/-])(?:\(?0\d|\(?\d{1,5}[ ().-]{1,2}\d)[\d ()./-]{4,18}\d(?![A-Za-z0-9:]|[.-]\d)", re.ASCII
)
_DOTTED = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}", re.ASCII)
#: Payment cards by their first digits and lengths: Visa, Mastercard, American Express, UnionPay, JCB, Discover.
_CARD = re.compile(
    r"4(?:\d{12}|\d{15})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|62\d{14,17}|35\d{14}|6(?:011|5\d\d)\d{12}", re.ASCII
)
#: What every match holds somewhere, or else an announcing word; most texts hold none of it, which saves the search.
SUSPECT = re.compile(
    rf"\d[\d .()/-]{{5}}|@|[A-Za-z0-9_+/-]{{16}}|[0-9A-Fa-f]{{2}}[:-][0-9A-Fa-f]{{0,4}}:|[0-9A-Fa-f]{{2}}-[0-9A-Fa-f]{{2}}-"
    rf"|:[0-9A-Fa-f]{{0,4}}:|[{_PROVINCE}][A-Z]|[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}}\.|[A-Za-z0-9]==?$|\$\w\$"
    r"|[A-Z]{2}\d\d[ A-Z]|[(\[{ ](?:at|AT|At)[)\]} ]|[A-Z0-9]{5}-[A-Z0-9]{5}-|-----BEGIN|PuTTY"
)
#: Each makes the next ones' surroundings; a second round is rare, a third was never seen.
MOST_ROUNDS = 5


def mask(text: str, counts: Counter[str], regions: Sequence[str] = ()) -> str:
    """Replace personal data by its placeholder, and count each under its kind.

    Args:
        text: One message.
        counts: Gains one for each replacement, by kind.
        regions: Countries (ISO 3166: GB, FR) whose phone numbers count without their +, too.
    """
    plain = narrow(text).text
    shapes = SUSPECT.search(plain) is not None
    words = next(AUTOMATON.iter(_lower(plain)), None) is not None
    finders: tuple[Callable[[str], Iterator[tuple[int, int, str]]], ...] = (
        *((_announced,) if words else ()),
        *((_tokens, _personal, _checked) if shapes else ()),
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


def mask_file_name(name: str, counts: Counter[str], regions: Sequence[str] = ()) -> str:
    """Mask a file's name as a text, also where apps put underscores between words (``CV_139_1234_5678.pdf``)."""
    masked = mask(name, counts, regions)
    found: Counter[str] = Counter()
    spaced = mask(masked.replace("_", " "), found, regions)
    counts.update(found)
    return spaced if found else masked


def _replace(text: str, find: Callable[[str], Iterator[tuple[int, int, str]]], counts: Counter[str]) -> str:
    plain = narrow(text)
    pieces: list[str] = []
    done = 0
    for start, end, kind in sorted(find(plain.text), key=lambda each: (each[0], -each[1])):
        first, last = plain.span(start, end)
        if first < done:
            continue
        pieces += (text[done:first], f"<{kind}>")
        done = last
        counts[kind] += 1
    return "".join((*pieces, text[done:])) if pieces else text


def _lower(text: str) -> str:
    """A text in lower case, character for character."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(low if len(low := each.lower()) == 1 else each for each in text)


def _announced(text: str) -> Iterator[tuple[int, int, str]]:
    return find_announced(text, _lower(text))


def _tokens(text: str) -> Iterator[tuple[int, int, str]]:
    return ((start, end, "key") for start, end in find_tokens(text))


def _personal(text: str) -> Iterator[tuple[int, int, str]]:
    for match in PERSONAL.finditer(text):
        kind = next(name for name in KINDS if match[name] is not None)
        start, end = match.span()
        if kind != "ip" or ":" in match[0] or not _VERSION.search(text[max(0, start - 16) : start]):
            yield start, end, kind


def _checked(text: str) -> Iterator[tuple[int, int, str]]:
    for match in CHECKED.finditer(text):
        sort = next(name for name in (*_STDNUM, "abroad") if match[name] is not None)
        if sort == "abroad":
            if _is_phone(f"+{match[0][2:]}"):
                yield *match.span(), "phone"
            continue
        number = re.sub("[ -]", "", match[0]) if sort == "card" else match[0].upper()
        if (sort != "card" or _CARD.fullmatch(number)) and _is_valid(_STDNUM[sort], number):
            yield *match.span(), "id"


def _is_valid(module: str, number: str) -> bool:
    import importlib

    return bool(importlib.import_module(f"stdnum.{module}").is_valid(number))


def _is_phone(number: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _national(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for run in NATIONAL.finditer(text):
        if _DOTTED.search(run[0]):
            continue
        for region in regions:
            for each in PhoneNumberMatcher(run[0], region, Leniency.VALID, 3):
                yield run.start() + each.start, run.start() + each.end, "phone"
