"""Personal data in texts, replaced by what it was: <phone>, <email>, <id>, <key>, <ip>.

Patterns of the common forms, not a guarantee: names and addresses in free text stay. Version numbers,
timestamps and sizes must survive, since technical questions are made of them, and so must loopback
addresses and netmasks, which are nobody's. Every pattern is bounded or anchored, so that no text
makes it slow.
"""

import re
from collections import Counter

PATTERNS = {
    "key": (
        r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
        r"|glpat-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|A[KS]IA[A-Z0-9]{16}"
        r"|AIza[A-Za-z0-9_-]{30,}|LTAI[A-Za-z0-9]{12,}"
        r"|eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,2000}(?:\.[A-Za-z0-9_-]+)?)"
        r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?"
        # A long run of hex, or of letters in both cases and digits: a hash or a token, never a word.
        r"|(?<![A-Za-z0-9])(?:[0-9a-f]{32,}|[0-9A-F]{32,})(?![A-Za-z0-9])"
        r"|(?<![A-Za-z0-9])(?=[A-Za-z0-9]{32})(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[a-z])"
        r"(?=[A-Za-z0-9]*[A-Z])[A-Za-z0-9]+(?![A-Za-z0-9])"
        r"|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,}={1,2}(?![A-Za-z0-9=])"
    ),
    "id": (
        r"(?<![A-Za-z0-9])(?:[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
        r"|wxid_[A-Za-z0-9_-]{4,}|\d{5,20}@chatroom)(?![A-Za-z0-9])"
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
        r"(?<![A-Za-z0-9_.+-])(?<!id=)(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?P<dash>[ -]?)\d{4}(?P=dash)\d{4}"
        r"(?!\d|\.\d|-\d|[ ]?(?:[KMGT]i?B|[Bb]ytes?|B)\b|[ ]?字节)"
        r"|(?<![A-Za-z0-9_+.])\+[1-9](?:[ ()-]{0,2}\d){7,14}(?!\d)"
        r"|(?<![A-Za-z0-9_.-])0\d{2,3}-[1-9]\d{6,7}(?![\d-])"
        r"|(?<![A-Za-z0-9_.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}-)\d{3}-\d{4}(?![\d-])"
    ),
}
KINDS = tuple(PATTERNS)
PERSONAL = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in PATTERNS.items()))
#: What every match holds somewhere; most texts hold none of it, which saves the search.
SUSPECT = re.compile(r"\d[\d .()-]{5}|@|[A-Za-z0-9+/_-]{16}|wxid_|xox|-----BEGIN|:[0-9A-Fa-f]{0,4}:")


def mask(text: str, counts: Counter[str]) -> str:
    """Replace personal data by its placeholder, and count each under its kind.

    Args:
        text: One message.
        counts: Gains one for each replacement, by kind.
    """
    if not SUSPECT.search(text):
        return text

    def replaced(match: re.Match[str]) -> str:
        kind = next(name for name in KINDS if match[name] is not None)
        counts[kind] += 1
        return f"<{kind}>"

    return PERSONAL.sub(replaced, text)
