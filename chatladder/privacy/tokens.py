"""Keys and tokens inside a text, known by their form alone: vendors' prefixes, hashes, and strings no language has.

A vendor's prefix says what a short or a wordlike token is. All others are long and random, whoever issued them, so
what is looked at is how a string is made: of neighbouring letters that words do not have, and of digits among
letters. That finds tokens of vendors nobody has listed, and leaves slugs, packages and names of classes alone.
Vendors' forms are those they document; gitleaks and detect-secrets list most of them.
"""

import re
from collections.abc import Iterator

from chatladder.privacy.patterns import TABLES, Stretch, expanded

_PREFIX = re.compile(
    "|".join(
        f"(?<![A-Za-z0-9-])(?:{'|'.join(re.escape(prefix) for prefix in sorted(prefixes.split(), reverse=True))})"
        # A digit, or letters no word has so many of.
        rf"(?:(?=[A-Za-z_-]{{0,64}}[0-9])[A-Za-z0-9_-]{{{least},}}|[A-Za-z]{{30,}})"
        for least, prefixes in TABLES["tokens"]["prefixes"].items()
    )
)
_FORMS = re.compile(expanded(TABLES["tokens"]["forms"]))
#: A run that may be a token.
RUN = re.compile(r"(?<![A-Za-z0-9_+/-])[A-Za-z0-9_+/-]{16,}")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]{16,}")
_PART = re.compile(r"[A-Za-z0-9]+")
_HEX = re.compile(r"(?:0x|[A-Za-z]{1,5})?(?=\d{0,99}[A-Fa-f])(?:[0-9a-f]{32,}|[0-9A-F]{32,})")
#: A vendor's name and kind of key, and what no word is: ``acme_live_`` and hex, or capitals, small letters and digits.
_PREFIXED = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9]{1,14}[_-]){1,3}(?:[0-9a-f]{24,}|(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])(?=[A-Za-z]*[0-9])"
    r"(?P<mixed>[A-Za-z0-9]{12,}))"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
#: Before a UUID: it is no disk's.
_KEY_BEFORE = re.compile(r"(?:sk|key|token|secret|pat|api)[_-]\Z", re.IGNORECASE)
#: Words that happen to begin like a vendor's key: hf_select_quant_linear_v2
_SLUG = re.compile(r"(?:[a-z]{1,14}[_-]){2,}[a-z]{0,14}\d{0,3}")
#: A checksum or a commit is nobody's, if the text beside it says so.
_CHECKSUM = re.compile(
    r"md5|sha-?\d|sum\b|checksum|digest|commit|git\b|revert|revision|\brev\b|\btree\b|\bblob\b|\bHEAD\b|cherry-pick"
    r"|bisect|change-id|btih|etag|infohash|校验|哈希|提交",
    re.IGNORECASE,
)
#: The last part of a web address, which names a picture or a page.
_PICTURE_AFTER = re.compile(r"\.(?:jpe?g|png|gif|webp|bmp|svg|html?)(?![A-Za-z0-9])", re.IGNORECASE)
_FILE_AFTER = re.compile(r"[ \t]{1,2}\*?[^\s*]{1,200}\.[A-Za-z0-9]{1,8}")
#: Pairs of neighbours that words have.
_PLAIN_PAIRS = frozenset(
    [word[0] + letter for word in TABLES["tokens"]["followers"].split() for letter in word[1:]]
    + [first + second for first in "0123456789" for second in "0123456789"]
)
#: The share of pairs that no word has. Random strings of 20 letters and digits have .42 and more in 99 of 100 cases.
_ODD = 0.42
#: The rest of a long string says nothing new.
_SAMPLE = 128


def find_tokens(text: str) -> list[Stretch]:
    """Find keys and tokens in a text in half width."""
    if RUN.search(text):
        return [(start, end, "key") for start, end in _find(text)]
    return [(0, len(text), "key")] if text.endswith("=") and _is_last_line(text) else []


def _find(text: str) -> Iterator[tuple[int, int]]:
    for match in _FORMS.finditer(text):
        yield match.span()
    for match in RUN.finditer(text):
        start, end = match.span()
        whole = match[0]
        is_path = whole.startswith("/") or text[start - 1 : start] == "."
        if ("/" in whole or "+" in whole) and not is_path and _is_base64(whole):
            yield start, end
            continue
        for segment in _SEGMENT.finditer(text, start, end):
            if text[segment.start() - 1 : segment.start()] == "/" and _PICTURE_AFTER.match(text, segment.end()):
                continue
            if _is_token(segment[0], text, segment.start()):
                yield segment.span()
    for match in _PREFIX.finditer(text):
        if not _SLUG.fullmatch(match[0]):
            yield match.span()


def _is_token(segment: str, text: str, start: int) -> bool:
    """Return whether letters, digits, underscores and hyphens at a place of a text are a token."""
    if match := _UUID.search(segment):
        return _KEY_BEFORE.search(segment, 0, match.start()) is not None
    parts = list(_PART.finditer(segment))
    for part in parts:
        if _HEX.fullmatch(part[0]):
            place = start + part.start(), start + part.end()
            letters = sum(map(str.isalpha, part[0]))
            return letters >= 4 and len(set(part[0])) >= 7 and not _is_checksum(part[0], text, *place)
    # A short word before it is a vendor's prefix, or a name in a file's name; a line of base64 may stand alone.
    prefixed = len(parts) > 1 and len(parts[0][0]) <= 15
    alone = segment == text and len(text) % 4 == 0 and not segment.isupper() and not segment.islower()
    least = 16 if prefixed or alone else 20
    if (match := _PREFIXED.fullmatch(segment)) and (match["mixed"] is None or _is_random(match["mixed"])):
        return True
    if any(len(part[0]) >= least and _is_random(part[0]) for part in parts):
        return True
    return len(segment) >= max(20, 8 * len(parts)) and _is_random(segment)


def _is_random(run: str) -> bool:
    """Return whether a string is no word, slug or name that anybody would make up."""
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
            odd += 0.5  # a word of a CamelCase name may begin
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
    """Return whether a run with slashes or plus signs is random, and no path."""
    sample = run[:_SAMPLE]
    parts = sum(1 for _ in _PART.finditer(sample))
    return (
        len(run) >= 30
        and len(sample) >= 8 * parts
        and not sample.islower()
        and not sample.isupper()
        and _is_random(sample.replace("/", "-").replace("+", "-"))
    )


def _is_checksum(digits: str, text: str, start: int, end: int) -> bool:
    """Return whether the text beside hex digits says that they are a checksum or a commit."""
    if len(digits) not in (32, 40, 56, 64, 96, 128):
        return False
    beside = f"{text[max(0, start - 40) : start]} {text[end : end + 40]}"
    return _CHECKSUM.search(beside) is not None or _FILE_AFTER.match(text, end) is not None


def _is_last_line(text: str) -> bool:
    """Return whether a text is nothing but the padded end of a base64 block, as when a key is pasted line by line."""
    line = text.strip()
    return (
        8 <= len(line) <= 76
        and len(line) % 4 == 0
        and re.fullmatch(r"[A-Za-z0-9+/]+={1,2}", line) is not None
        and not line[1:].islower()
        and not line.isupper()
    )
