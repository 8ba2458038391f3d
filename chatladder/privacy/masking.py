"""Personal data in texts, replaced by what it was: <phone>, <email>, <id>, <key>, <ip>.

Patterns of the common forms, not a guarantee: addresses in free text stay, and names are the business of
``chatladder.privacy.names``. Version numbers, timestamps, sizes and checksums must survive, since technical questions
are made of them, and so must private and loopback addresses and netmasks, which are nobody's. Full-width digits and
invisible characters do not hide anything, nor do underscores, equals signs or Chinese letters beside a number.

========= ==============================================================================================
<key>     what a text calls a password, a code or a token, or gives a program as one (``chatladder.privacy.announced``);
          vendors' tokens and long random strings (``chatladder.privacy.tokens``); private keys; the password in a URL
<id>      Chinese resident ids and plates, WeChat and QQ ids, hardware addresses, passports and other documents where
          they are called so; by their check digits: payment cards (Luhn), IBAN, US social security numbers, CPF
<email>   addresses, also in other scripts and as "name at host dot com", but git@host, which names repositories
<ip>      public IPv4, and IPv6
<phone>   Chinese mobile and landline numbers, US ones with separators, any international one (+ or 00), the national
          forms of some countries that look like nothing else, and any number that a text calls a phone's; all other
          national forms on demand, by ``phonenumbers``
========= ==============================================================================================

Every pattern is bounded or anchored, so time grows with the length of a text and no faster. Masking a masked text
changes nothing. The patterns are ours, since those of others are made for code: of the keys that benchmarks.secrets
plants, gitleaks finds 27 to 39 %, kingfisher 41 to 57 %, both 3 % of the passwords at most; detect-secrets finds two
thirds of the passwords and nearly all keys, but takes nine of ten harmless texts for a secret.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from chatladder.privacy.announced import find_announced
from chatladder.privacy.folding import Folded, narrow
from chatladder.privacy.tokens import Stretch, find_tokens

KINDS = ("key", "id", "email", "ip", "phone")

#: A number ends here: a letter, a digit, or a sign with a digit after it would go on. 139...B栋 is a number in a house.
_END = r"(?!\d|[A-Za-z](?![\u4e00-\u9fff])|[.-]\d)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LATIN = r"A-Za-z0-9\u00c0-\u024f\u0370-\u052f"
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
#: A label with letters of other scripts, and one that has some.
_ANY_LABEL = rf"[{_LATIN}{_CJK}](?:[{_LATIN}{_CJK}-]{{0,62}})"
_OTHER_LABEL = rf"(?=[A-Za-z0-9-]{{0,62}}[^\x00-\x7f]){_ANY_LABEL}"
_TLD = (
    r"(?:中国|中國|公司|网络|網絡|在线|网址|集团|香港|台湾|台灣|新加坡|[\u0400-\u04ff]{2,12}"
    r"|[\u4e00-\u9fff]{2,4}(?![\u4e00-\u9fff])|xn--[A-Za-z0-9-]{2,59}(?![A-Za-z0-9]))"
)
_COMMON_TLD = r"(?:com|net|org|edu|de|cn|uk|fr|io|me|ru|jp|in|info|COM|NET|ORG|EDU|DE|CN|UK|FR|IO)(?![A-Za-z0-9])"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PROVINCE = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

#: Where digits are that make a number; whatever a text writes between them.
NUMBER = re.compile(r"[+(]{0,2}\d[\d .()/+-]{5,}")
#: A number's pattern looks no further than so many characters behind it.
_BEHIND = 24
#: Patterns of each kind by what a text must hold first, which is quickly seen: most texts hold none of it.
PATTERNS: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    "key": (
        (
            re.compile("-----BEGIN"),
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*"
            r"(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?",
        ),
        (re.compile("PuTTY-"), r"PuTTY-User-Key-File-[0-9][^<]*"),
        # A name and a password in a URL.
        (re.compile("://"), r"(?<=://)[^\s/:@<>?#]{0,64}:[^\s/@<>]{1,128}(?=@)"),
        # A hash of a password, as in /etc/shadow.
        (
            re.compile(r"\$\w{1,8}\$"),
            r"(?<![A-Za-z0-9$])\$(?:[156y]|2[abxy]|argon2id?)\$[A-Za-z0-9./$=,+-]{20,200}",
        ),
    ),
    "id": (
        (
            NUMBER,
            r"(?<![A-Za-z0-9])(?:[1-9]\d{5}[ ]?(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ ]?\d{3}[\dXx]"
            r"|\d{5,20}@(?:chatroom|openim|[sgc]\.us|s\.whatsapp\.net))(?![A-Za-z0-9])",
        ),
        (re.compile("wxid_"), r"(?<![A-Za-z0-9])wxid_[A-Za-z0-9_-]{4,40}"),
        (re.compile("gh_"), r"(?<![A-Za-z0-9])gh_[0-9a-f]{12}(?![A-Za-z0-9])"),
        # A hardware address, but not the broadcast one.
        (
            re.compile(r":[0-9A-Fa-f]{2}:|-[0-9A-Fa-f]{2}-"),
            r"(?<![A-Za-z0-9:.-])(?!(?:00|ff|FF)(?P<mac>[:-])(?:00|ff|FF)(?P=mac)(?:00|ff|FF)(?P=mac))"
            r"[0-9A-Fa-f]{2}(?P<by>[:-])(?:[0-9A-Fa-f]{2}(?P=by)){4}[0-9A-Fa-f]{2}(?![A-Za-z0-9:]|-[0-9A-Fa-f])",
        ),
        (
            re.compile(r"\.[0-9A-Fa-f]{4}\."),
            r"(?<![A-Za-z0-9:.-])(?=[0-9.]{0,13}[A-Fa-f])(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}(?![A-Za-z0-9]|\.\w)",
        ),
        (
            re.compile(f"[{_PROVINCE}][A-Z]"),
            rf"(?<![更最全创里讯])[{_PROVINCE}][A-Z][ ·•]?(?=[A-Z]{{0,4}}\d)[A-Z0-9]{{5,6}}(?![A-Za-z0-9])"
            rf"|[{_PROVINCE}][A-Z][·•][A-Z0-9]{{5,6}}(?![A-Za-z0-9])",
        ),
    ),
    "email": (
        # git@host is how repositories are named.
        (
            re.compile("@"),
            r"(?<![A-Za-z0-9._%+-])(?!git@)[A-Za-z0-9._%+-]{1,64}"
            rf"@(?:{_LABEL}\.){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
            rf"|\"[^\"@<>\n]{{1,64}}\"@(?:{_LABEL}\.){{1,8}}[A-Za-z]{{2,24}}",
        ),
        (
            re.compile(r"@[A-Za-z0-9.-]{0,64}(?:[^\x00-\x7f]|xn--)|[^\x00-\x7f][A-Za-z0-9._%+-]{0,64}@"),
            rf"(?<![{_LATIN}._%+-])[{_LATIN}._%+-]{{1,64}}@(?:(?:{_ANY_LABEL}\.){{1,4}}{_TLD}"
            rf"|(?:{_LABEL}\.){{0,3}}{_OTHER_LABEL}\.(?:{_ANY_LABEL}\.){{0,3}}[A-Za-z]{{2,24}}(?![A-Za-z0-9]))"
            rf"|(?<![{_LATIN}._%+-])(?=[A-Za-z0-9._%+-]{{0,63}}[\u00c0-\u052f])[{_LATIN}._%+-]{{1,64}}"
            rf"@(?:{_LABEL}\.){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
            # A name in Chinese is hardly longer than three letters, and the words before it are not parted from it.
            rf"|[{_CJK}]{{1,3}}[A-Za-z0-9._%+-]{{0,64}}@[{_CJK}A-Za-z0-9-]{{1,63}}\.{_TLD}",
        ),
        (
            re.compile(r"(?:at|AT|At|@)[ ]?[)\]}]"),
            rf"(?<![A-Za-z0-9._-]){_WORD}[ ]?[(\[{{][ ]?(?:at|AT|At|@)[ ]?[)\]}}][ ]?{_WORD}"
            rf"(?:[ ]?[(\[{{][ ]?(?:dot|DOT|\.)[ ]?[)\]}}][ ]?|[ ](?:dot|DOT)[ ]|\.)[A-Za-z]{{2,24}}(?![A-Za-z0-9])",
        ),
        (
            re.compile(r" (?:dot|DOT|@|AT) "),
            rf"(?<![A-Za-z0-9._-]){_WORD}[ ](?:at|AT)[ ]{_WORD}(?:[ ](?:dot|DOT)[ ]{_WORD}){{0,2}}[ ](?:dot|DOT)[ ]"
            rf"{_COMMON_TLD}|(?<![A-Za-z0-9._-]){_WORD}[ ](?:@|AT)[ ](?:{_LABEL}\.){{1,4}}{_COMMON_TLD}",
        ),
    ),
    "ip": (
        # Private addresses and netmasks are nobody's; four single digits are a version (1.7.9.5), or a resolver.
        (
            NUMBER,
            r"(?<![A-Za-z0-9.~-])(?<![=<>!~]=)"
            r"(?!127\.|0\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|2(?:2[4-9]|[345]\d)\.)"
            rf"(?!\d\.\d\.\d\.\d(?!\d))(?:{_OCTET}\.){{3}}{_OCTET}"
            r"(?![A-Za-z0-9]|\.\d|-\d|_(?:amd64|i\d86|x86|x64|arm|all|win|linux)|\.(?:deb|rpm|tar))",
        ),
        (
            re.compile(":[0-9A-Fa-f]{0,4}:"),
            r"(?<![A-Za-z0-9:.])(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![A-Za-z0-9]|:[0-9A-Fa-f]{1,2}:)"
            r"|(?!fe80::[0-9a-f]{1,2}(?![0-9a-f:]))(?:fe80|f[cd][0-9A-Fa-f]{2}|2[0-9A-Fa-f]{3}):(?:[0-9A-Fa-f]{1,4}:){0,6}"
            r":(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?(?![A-Za-z0-9:]))",
        ),
    ),
    "phone": (
        (re.compile("[一幺][三四五六七八九]"), "[一幺][三四五六七八九][零〇○一幺二三四五六七八九]{9}"),
        (
            NUMBER,
            # A mainland mobile number, unless a unit follows (17179869184 bytes are 16 GiB); after id= it is a page's.
            r"(?<![A-Za-z0-9.+-])(?<!id=)(?:(?:\+|00)?86[ -]?)?1[3-9]"
            r"(?:\d(?P<dash>[ .-]?)\d{4}(?P=dash)\d{4}|\d(?P<gap>[ -])\d{3}(?P=gap)\d{5}"
            r"|\d{2}(?P<two>[ -])\d{3}(?P=two)\d{4}|\d{2}(?P<last>[ -])\d{4}(?P=last)\d{3}"
            r"|\d(?: \d\d){4}|\d[ -]\d{8})"
            r"(?!\d|\.\d|-\d|[ ]?(?:[KMGT]i?B|[Bb]ytes?|B)(?![A-Za-z0-9\u4e00-\u9fff])|[ ]?字节)"
            r"|(?<![A-Za-z0-9.-])1(?P<one>[ .-])[3-9](?:(?P=one)\d){9}(?![ .-]?\d)"
            r"|(?<![A-Za-z0-9+.])(?!\+\d{1,9}\.\d{1,9}[^\d .()/-])\+[1-9](?:[ ]?[().\-/]?[ (]?\d){7,14}(?!\d)"
            # A Chinese landline's area code is 10, 2x or three digits; 400 and 800 are hotlines.
            r"|(?<![A-Za-z0-9.-])(?:(?:0\d{2,3}-|\(0\d{2,3}\) ?|0(?:10|2\d) )[2-9]\d{6,7}"
            rf"|0\d{{2,3}}-[2-9]\d{{2,3}}[ -]\d{{4}}|[48]00-(?:\d{{3}}-\d{{4}}|\d{{4}}-\d{{3}})){_END}"
            # The US and Canada.
            r"|(?<![A-Za-z0-9.-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}(?P<us>[.-]))"
            r"\d{3}(?:(?P=us)|-)\d{4}(?![\d-]|\.\d)"
            # France, the UK, Australia, Germany, Russia, Brazil, Japan, Korea, India; more with a 0 are checked below.
            r"|(?<![A-Za-z0-9.-])(?<!\d )(?:0[1-9](?P<fr>[ .-])\d\d(?:(?P=fr)\d\d){3}|07\d{3} \d{6}|04\d\d \d{3} \d{3}"
            r"|01[5-7]\d(?:[ ]?/[ ]?|-)\d{7,8}|8[ -]?\(?9\d\d\)?[ -]\d{3}[ -]\d\d[ -]\d\d|\(\d\d\) 9?\d{4}-\d{4}"
            r"|0[1-9]0-\d{3,4}-\d{4}|0[3-6]-\d{4}-\d{4}|0[4679]\d{8}|07\d{9}|01[5-7]\d{8,9}"
            rf"|[6-9]\d{{4}} \d{{5}}){_END}",
        ),
    ),
}
_NUMBERS = re.compile(
    "|".join(f"(?P<{kind}>{pattern})" for kind in KINDS for gate, pattern in PATTERNS[kind] if gate is NUMBER), re.ASCII
)
#: Without any of these no other pattern matches. Each begins with a sign or a letter of its own, which makes it fast.
_SIGNS = re.compile(
    rf"@|://|-----BEGIN|PuTTY-|\$\w|wxid_|gh_|:[0-9A-Fa-f]{{0,4}}:|-[0-9A-Fa-f]{{2}}-|\.[0-9A-Fa-f]{{4}}\."
    rf"|\([ ]?[aA][tT]|\[[ ]?[aA][tT]|\{{[ ]?[aA][tT]| dot | DOT | AT |[{_PROVINCE}][A-Z]|[一幺][三四五六七八九]"
)
_OTHERS = [
    (kind, gate, re.compile(pattern, re.ASCII))
    for kind in KINDS
    for gate, pattern in PATTERNS[kind]
    if gate is not NUMBER
]
#: Before four numbers with dots: they are a version.
_VERSION = re.compile(
    r"(?:version|\bver|\bv|release|firmware|build|driver|plugin|flash|kernel|chrom\w+|opera|java|版本|固件|驱动)"
    r"[ :=.]{0,3}\Z",
    re.IGNORECASE,
)
#: Before four numbers with dots: they are an address.
_NET = re.compile(
    r"\b(?:ip|ips|host|server|ssh|ping|pinging|from|to|at|on|is|and|or|via|by|for|address|addr|dns|box|vps|machine|use)"
    r"[ :]\Z",
    re.IGNORECASE,
)
#: What only check digits tell from other numbers.
CHECKED = re.compile(
    r"(?<![A-Za-z0-9.+-])(?:(?P<card>[2-6]\d(?:[ -]?\d){11,17})"
    r"|(?P<ssn>\d{3}-\d{2}-\d{4})|(?P<cpf>\d{3}\.\d{3}\.\d{3}-\d{2})"
    r"|(?P<iban>[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?)"
    r"|(?P<trunk>(?:\(0[1-9]\d{0,3}\)[ ]?|0[1-9]\d{0,3}[ ]?[ /-][ ]?)\d{2,8}(?:[ -]\d{2,4}){0,4})"
    r"|(?P<area>\(\d{2,4}\)[ ]?\d{3,4}[ -]\d{4})"
    r"|(?P<abroad>00[1-9](?:[ ]?[().\-/]?[ (]?\d){8,13}))"
    r"(?!\d|[A-Za-z](?![\u4e00-\u9fff])|[./-]\d)",
    re.ASCII,
)
_STDNUM = {"card": "luhn", "ssn": "us.ssn", "cpf": "br.cpf", "iban": "iban"}
#: A national phone number as somebody may write it: with separators, or with the 0 of an area code.
NATIONAL = re.compile(
    r"(?<![A-Za-z0-9.+:/-])(?:\(?0\d|\(?\d{1,5}[ ().-]{1,2}\d)[\d ()./-]{4,18}\d(?![A-Za-z0-9:]|[.-]\d)", re.ASCII
)
#: A date, or a postal code of the US.
_NO_TRUNK = re.compile(r"\d\d[/-]\d\d[/ -](?:19|20)\d\d|\d{5}-\d{4}\Z")
#: An address, a fraction, a row of small numbers.
_NO_NATIONAL = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}|\A\d+\.\d+\Z|\A\d(?:[ .-]\d{{1,2}})+\Z", re.ASCII)
_ISBN = re.compile(r"isbn(?:-1[03])?[ :]{0,2}\Z", re.IGNORECASE)
#: Payment cards by their first digits and lengths: Visa, Mastercard, American Express, UnionPay, JCB, Discover.
_CARD = re.compile(
    r"4(?:\d{12}|\d{15})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|62\d{14,17}|35\d{14}|6(?:011|5\d\d)\d{12}", re.ASCII
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
    for _ in range(MOST_ROUNDS):
        masked = _mask_once(text, counts, regions)
        if masked == text:
            break
        text = masked
    return text


def _mask_once(text: str, counts: Counter[str], regions: Sequence[str]) -> str:
    plain = narrow(text)
    for find in _FINDERS:
        if stretches := find(plain.text, regions):
            text = _replace(text, plain, sorted(stretches, key=_by_place), counts)
            plain = narrow(text)
    return text


def _by_place(stretch: Stretch) -> tuple[int, int]:
    return stretch[0], -stretch[1]


def mask_file_name(name: str, counts: Counter[str], regions: Sequence[str] = ()) -> str:
    """Mask a file's name as a text, also where apps put underscores between words (``CV_139_1234_5678.pdf``)."""
    masked = mask(name, counts, regions)
    more: Counter[str] = Counter()
    spaced = mask(masked.replace("_", " "), more, regions)
    counts.update(more)
    return spaced if more else masked


def _replace(text: str, plain: Folded, stretches: Iterable[Stretch], counts: Counter[str]) -> str:
    """Put placeholders where something was found; of two that overlap the first stays."""
    pieces: list[str] = []
    done = 0
    for start, end, kind in stretches:
        first, last = plain.span(start, end)
        if first < done:
            continue
        pieces += (text[done:first], f"<{kind}>")
        done = last
        counts[kind] += 1
    return "".join((*pieces, text[done:]))


def _find_forms(text: str) -> list[Stretch]:
    """Find all but numbers."""
    if not _SIGNS.search(text):
        return []
    return [
        (*match.span(), kind)
        for kind, gate, pattern in _OTHERS
        if gate.search(text)
        for match in pattern.finditer(text)
    ]


def _find_numbers(text: str, regions: Sequence[str]) -> list[Stretch]:
    """Find numbers by their form, by check digits, and by the numbering plans of countries."""
    stretches: list[Stretch] = []
    for run in NUMBER.finditer(text):
        for match in _NUMBERS.finditer(text, run.start(), run.end() + _BEHIND):
            start, end = match.span()
            if start >= run.end():
                break  # another run's, and maybe cut off
            kind = next(kind for kind in ("id", "ip", "phone") if match[kind] is not None)
            if kind != "ip" or not _is_version(match[0], text[max(0, start - 16) : start]):
                stretches.append((start, end, kind))
        stretches += _find_checked(text, run)
        for region in regions:
            stretches += _find_national(text, run, region)
    return stretches


def _is_version(number: str, before: str) -> bool:
    if _VERSION.search(before):
        return True
    # cudnn 8.9.2.26, but from 5.9.12.34
    return number[1] == number[3] == "." and re.search(r"[a-z] \Z", before) is not None and not _NET.search(before)


def _find_checked(text: str, run: re.Match[str]) -> Iterator[Stretch]:
    # An IBAN begins with letters.
    for match in CHECKED.finditer(text, max(0, run.start() - 16), run.end() + _BEHIND):
        if match.start() >= run.end():
            break
        sort = next(name for name in (*_STDNUM, "trunk", "area", "abroad") if match[name] is not None)
        if sort not in _STDNUM:
            if sort == "area" or (_is_trunk if sort == "trunk" else _is_abroad)(match[0]):
                yield *match.span(), "phone"
            continue
        number = re.sub("[ -]", "", match[0]) if sort == "card" else match[0].upper()
        if (sort != "card" or _CARD.fullmatch(number)) and _is_valid(_STDNUM[sort], number):
            yield *match.span(), "id"


def _is_valid(module: str, number: str) -> bool:
    import importlib

    return bool(importlib.import_module(f"stdnum.{module}").is_valid(number))


def _is_trunk(number: str) -> bool:
    """Return whether it may be a national number with the 0 before its area, and no date."""
    groups = re.findall(r"\d+", number)
    if not 9 <= len("".join(groups)) <= 12 or max(map(len, groups[1:])) < 3 or _NO_TRUNK.match(number):
        return False
    # Three groups with blanks between them may be any numbers.
    return len(groups[0]) > 3 or len(groups) > 3 or re.search("[(/-]", number) is not None


def _is_abroad(number: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{number[2:]}"))
    except phonenumbers.NumberParseException:
        return False


def _find_national(text: str, within: re.Match[str], region: str) -> Iterator[Stretch]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for run in NATIONAL.finditer(text, within.start(), within.end() + _BEHIND):
        if run.start() >= within.end():
            break
        if not _NO_NATIONAL.search(run[0]) and not _ISBN.search(text[max(0, run.start() - 9) : run.start()]):
            for each in PhoneNumberMatcher(run[0], region, Leniency.VALID, 3):
                yield run.start() + each.start, run.start() + each.end, "phone"


#: In the order of who is right about a place that two find.
_FINDERS: tuple[Callable[[str, Sequence[str]], list[Stretch]], ...] = (
    lambda text, _: find_announced(text),
    lambda text, _: find_tokens(text),
    lambda text, _: _find_forms(text),
    _find_numbers,
)
