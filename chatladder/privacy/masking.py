"""Personal data in texts, replaced by its kind: <phone>, <email>, <id>, <key>, <ip>.

The patterns cover the common forms and are not a guarantee: addresses in free text stay, and names are left to
``chatladder.privacy.names``. Version numbers, timestamps, sizes and checksums must survive, since technical questions
consist of them, and so must private and loopback addresses and netmasks, which identify nobody. Full-width digits and
invisible characters hide nothing, nor do underscores, equals signs or Chinese letters next to a number.

========= ==============================================================================================
<key>     a password, a code or a token that a text announces or passes to a program (``chatladder.privacy.announced``);
          vendors' tokens and long random strings; private keys; the password in a URL
<id>      Chinese resident ids and plates, WeChat and QQ ids, hardware addresses, passports and other documents that
          are named as such; by their check digits: payment cards (Luhn), IBAN, US social security numbers, CPF
<email>   addresses, also in other scripts and as "name at host dot com", except git@host, which names repositories
<ip>      public IPv4, and IPv6
<phone>   Chinese mobile and landline numbers, US ones with separators, any international one (+ or 00), the national
          forms of some countries that are unmistakable, and any number that a text calls a phone number; all other
          national forms on request, by ``phonenumbers``
========= ==============================================================================================

A short or wordlike token is recognised by its vendor's prefix. All others are long and random, whoever issued them, so
the composition of a string decides: pairs of letters that words do not have, and digits among letters. That finds
tokens of unlisted vendors, and leaves slugs, packages and class names alone. Vendors' forms are the documented ones;
gitleaks and detect-secrets list most of them.

The patterns are in ``patterns.toml``. Each is bounded or anchored, so time is linear in the length of a text. Masking
is idempotent. Others' patterns are not used, because they are made for code: of the keys that benchmarks.secrets
plants, gitleaks finds 27 to 39 %, kingfisher 41 to 57 %, and both at most 3 % of the passwords; detect-secrets finds
two thirds of the passwords and nearly all keys, but takes nine of ten harmless texts for a secret.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from chatladder.privacy.announced import find_announced
from chatladder.privacy.folding import Folded, narrow
from chatladder.privacy.patterns import PATTERNS, TABLES, Stretch, expanded

KINDS = ("key", "id", "email", "ip", "phone")

#: A number's pattern may extend this many characters past the run of digits.
_BEHIND = 24
#: Forms of personal data: the kind, a sign that the text must contain (None for a number), and the pattern.
FORMS = [
    (form["kind"], re.compile(expanded(form["sign"])) if "sign" in form else None, expanded(form["pattern"]))
    for form in TABLES["forms"]
]
_NUMBERS = re.compile("|".join(f"(?P<{kind}>{form})" for kind, sign, form in FORMS if sign is None), re.ASCII)
_OTHERS = [(kind, sign, re.compile(form, re.ASCII)) for kind, sign, form in FORMS if sign is not None]
#: Numbers recognised by check digits, and stdnum's modules for them.
_STDNUM = {"card": "luhn", "ssn": "us.ssn", "cpf": "br.cpf", "iban": "iban"}
#: Vendors' tokens by their prefixes.
_PREFIX = re.compile(
    "|".join(
        f"(?<![A-Za-z0-9-])(?:{'|'.join(re.escape(prefix) for prefix in sorted(prefixes.split(), reverse=True))})"
        # A digit, or more letters than any word has.
        rf"(?:(?=[A-Za-z_-]{{0,64}}[0-9])[A-Za-z0-9_-]{{{least},}}|[A-Za-z]{{30,}})"
        for least, prefixes in TABLES["tokens"]["prefixes"].items()
    )
)
#: Pairs of neighbouring letters that words have.
_PLAIN_PAIRS = frozenset(
    [word[0] + letter for word in TABLES["tokens"]["followers"].split() for letter in word[1:]]
    + [first + second for first in "0123456789" for second in "0123456789"]
)
#: The share of pairs that no word has. Random strings of 20 letters and digits reach .42 in 99 of 100 cases.
_ODD = 0.42
#: Characters of a long string that are examined; the rest adds nothing.
_SAMPLE = 128
#: A replacement changes the context of others, so masking repeats; a second round is rare, a third was never seen.
MOST_ROUNDS = 5


def mask(text: str, counts: Counter[str], regions: Sequence[str] = ()) -> str:
    """Replace personal data by placeholders, and count the replacements by kind.

    Args:
        text: One message.
        counts: Counts the replacements by kind.
        regions: Countries (ISO 3166: GB, FR) whose phone numbers are masked without their +, too.
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
    """Mask a file's name as a text, also where underscores separate words (``CV_139_1234_5678.pdf``)."""
    masked = mask(name, counts, regions)
    more: Counter[str] = Counter()
    spaced = mask(masked.replace("_", " "), more, regions)
    counts.update(more)
    return spaced if more else masked


def _replace(text: str, plain: Folded, stretches: Iterable[Stretch], counts: Counter[str]) -> str:
    """Replace the findings by placeholders; if two overlap, the first is replaced."""
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


def _find_tokens(text: str) -> list[Stretch]:
    """Find keys and tokens in a text in half width."""
    if PATTERNS["run"].search(text):
        return [(start, end, "key") for start, end in _tokens(text)]
    return [(0, len(text), "key")] if text.endswith("=") and _is_last_line(text) else []


def _tokens(text: str) -> Iterator[tuple[int, int]]:
    for match in PATTERNS["token_forms"].finditer(text):
        yield match.span()
    for match in PATTERNS["run"].finditer(text):
        start, end = match.span()
        whole = match[0]
        is_path = whole.startswith("/") or text[start - 1 : start] == "."
        if ("/" in whole or "+" in whole) and not is_path and _is_base64(whole):
            yield start, end
            continue
        for segment in PATTERNS["segment"].finditer(text, start, end):
            if text[segment.start() - 1 : segment.start()] == "/" and PATTERNS["picture_after"].match(
                text, segment.end()
            ):
                continue
            if _is_token(segment[0], text, segment.start()):
                yield segment.span()
    for match in _PREFIX.finditer(text):
        if not PATTERNS["slug"].fullmatch(match[0]):
            yield match.span()


def _is_token(segment: str, text: str, start: int) -> bool:
    """Return True if a run of letters, digits, underscores and hyphens in a text is a token."""
    if match := PATTERNS["uuid"].search(segment):
        return PATTERNS["key_before"].search(segment, 0, match.start()) is not None
    parts = list(PATTERNS["part"].finditer(segment))
    for part in parts:
        if PATTERNS["hex"].fullmatch(part[0]):
            place = start + part.start(), start + part.end()
            letters = sum(map(str.isalpha, part[0]))
            return letters >= 4 and len(set(part[0])) >= 7 and not _is_checksum(part[0], text, *place)
    # A short word before it is a vendor's prefix or part of a file's name; a line of base64 may be alone.
    prefixed = len(parts) > 1 and len(parts[0][0]) <= 15
    alone = segment == text and len(text) % 4 == 0 and not segment.isupper() and not segment.islower()
    least = 16 if prefixed or alone else 20
    if (match := PATTERNS["prefixed"].fullmatch(segment)) and (match["mixed"] is None or _is_random(match["mixed"])):
        return True
    if any(len(part[0]) >= least and _is_random(part[0]) for part in parts):
        return True
    return len(segment) >= max(20, 8 * len(parts)) and _is_random(segment)


def _is_random(run: str) -> bool:
    """Return True if a string is not a word, slug or name that a person would choose."""
    sample = run[:_SAMPLE]
    lower = sample.lower()
    if len(set(lower)) < 9 or (len(run) < 32 and not set(lower) - set("0123456789abcdef-_")):
        return False
    pairs = odd = 0.0
    for place in range(1, len(lower)):
        pair = lower[place - 1 : place + 1]
        if not pair.isalnum():
            continue
        pairs += 1
        if sample[place - 1].islower() and sample[place].isupper():
            odd += 0.5  # it may be the start of a word in a CamelCase name
        elif pair not in _PLAIN_PAIRS:
            odd += 1
    digits = sum(map(str.isdigit, sample))
    if digits > 1:
        return odd >= _ODD * pairs
    if digits:
        return odd >= (_ODD + 0.08) * pairs
    mixed = not sample.islower() and not sample.isupper()
    return len(run) >= 20 and mixed and odd >= (0.45 if len(run) >= 24 else 0.55) * pairs


def _is_base64(run: str) -> bool:
    """Return True if a run with slashes or plus signs is random, and not a path."""
    sample = run[:_SAMPLE]
    parts = sum(1 for _ in PATTERNS["part"].finditer(sample))
    return (
        len(run) >= 30
        and len(sample) >= 8 * parts
        and not sample.islower()
        and not sample.isupper()
        and _is_random(sample.replace("/", "-").replace("+", "-"))
    )


def _is_checksum(digits: str, text: str, start: int, end: int) -> bool:
    """Return True if the text around hex digits says that they are a checksum or a commit."""
    if len(digits) not in (32, 40, 56, 64, 96, 128):
        return False
    beside = f"{text[max(0, start - 40) : start]} {text[end : end + 40]}"
    return PATTERNS["checksum"].search(beside) is not None or PATTERNS["file_after"].match(text, end) is not None


def _is_last_line(text: str) -> bool:
    """Return True if a text is only the padded end of a base64 block, as in a key pasted line by line."""
    line = text.strip()
    return (
        8 <= len(line) <= 76
        and len(line) % 4 == 0
        and re.fullmatch(r"[A-Za-z0-9+/]+={1,2}", line) is not None
        and not line[1:].islower()
        and not line.isupper()
    )


def _find_forms(text: str) -> list[Stretch]:
    """Find all forms except numbers."""
    if not PATTERNS["signs"].search(text):
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
    for run in PATTERNS["number"].finditer(text):
        for match in _NUMBERS.finditer(text, run.start(), run.end() + _BEHIND):
            start, end = match.span()
            if start >= run.end():
                break  # part of another run, and maybe cut off
            kind = next(kind for kind in ("id", "ip", "phone") if match[kind] is not None)
            if kind != "ip" or not _is_version(match[0], text[max(0, start - 16) : start]):
                stretches.append((start, end, kind))
        stretches += _find_checked(text, run)
        for region in regions:
            stretches += _find_national(text, run, region)
    return stretches


def _is_version(number: str, before: str) -> bool:
    if PATTERNS["version"].search(before):
        return True
    # cudnn 8.9.2.26, but from 5.9.12.34
    return (
        number[1] == number[3] == "."
        and re.search(r"[a-z] \Z", before) is not None
        and not PATTERNS["net"].search(before)
    )


def _find_checked(text: str, run: re.Match[str]) -> Iterator[Stretch]:
    # An IBAN starts with letters.
    for match in PATTERNS["checked"].finditer(text, max(0, run.start() - 16), run.end() + _BEHIND):
        if match.start() >= run.end():
            break
        sort = next(name for name in (*_STDNUM, "trunk", "area", "abroad") if match[name] is not None)
        if sort not in _STDNUM:
            if sort == "area" or (_is_trunk if sort == "trunk" else _is_abroad)(match[0]):
                yield *match.span(), "phone"
            continue
        number = re.sub("[ -]", "", match[0]) if sort == "card" else match[0].upper()
        if (sort != "card" or PATTERNS["card"].fullmatch(number)) and _is_valid(_STDNUM[sort], number):
            yield *match.span(), "id"


def _is_valid(module: str, number: str) -> bool:
    import importlib

    return bool(importlib.import_module(f"stdnum.{module}").is_valid(number))


def _is_trunk(number: str) -> bool:
    """Return True if the digits may be a national number with the 0 before its area code, and not a date."""
    groups = re.findall(r"\d+", number)
    if not 9 <= len("".join(groups)) <= 12 or max(map(len, groups[1:])) < 3 or PATTERNS["no_trunk"].match(number):
        return False
    # Three groups separated by blanks may be any numbers.
    return len(groups[0]) > 3 or len(groups) > 3 or re.search("[(/-]", number) is not None


def _is_abroad(number: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{number[2:]}"))
    except phonenumbers.NumberParseException:
        return False


def _find_national(text: str, within: re.Match[str], region: str) -> Iterator[Stretch]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for run in PATTERNS["national"].finditer(text, within.start(), within.end() + _BEHIND):
        if run.start() >= within.end():
            break
        if not PATTERNS["no_national"].search(run[0]) and not PATTERNS["isbn"].search(
            text[max(0, run.start() - 9) : run.start()]
        ):
            for each in PhoneNumberMatcher(run[0], region, Leniency.VALID, 3):
                yield run.start() + each.start, run.start() + each.end, "phone"


#: In order of priority if two find the same span.
_FINDERS: tuple[Callable[[str, Sequence[str]], list[Stretch]], ...] = (
    lambda text, _: find_announced(text),
    lambda text, _: _find_tokens(text),
    lambda text, _: _find_forms(text),
    _find_numbers,
)
