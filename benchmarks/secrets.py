r"""How many planted secrets masking finds, and how many harmless texts it changes.

Example:
    python -m benchmarks.secrets --seed 1 --irc IRC/ubuntu-en --write docs/reference/masking.md

Secrets are drawn with a seed in the forms of ``benchmarks/planted/secrets.yaml``, each in every sentence of its kind. A
secret is found if no half of it is left. A harmless text is kept if masking does not change it. ``--formats`` plants
the same secrets in a chat of every export format, including file names, and runs ingest over it. The share of masked
words in a real chat is an upper bound of the ordinary words that are lost.
"""

import io
import json
import os
import random
import re
import string
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import click
import yaml

from chatladder.chat.messages import ingest
from chatladder.io.rows import MESSAGES, read_rows
from chatladder.privacy.masking import KINDS, mask, mask_file_name
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.secret import KEY_VARIABLE
from tests import planted as chats

PLANTED = Path(__file__).parent / "planted" / "secrets.yaml"
SETS = ("tuned", "held_out")
CLASSES = {
    "d": string.digits,
    "D": "123456789",
    "x": "0123456789abcdef",
    "X": "0123456789ABCDEF",
    "a": string.ascii_lowercase + string.digits,
    "c": string.ascii_lowercase + "234567",
    "U": string.ascii_uppercase + string.digits,
    "l": string.ascii_lowercase,
    "C": string.ascii_uppercase,
    "L": string.ascii_letters,
    "n": string.ascii_letters + string.digits,
    "u": string.ascii_letters + string.digits + "-_",
    "b": string.ascii_letters + string.digits + "+/",
}
#: The planted chats last from ten in the morning to midnight at most, a message a minute.
MOST_A_DAY = 800
#: Marks a text as a file's name.
FILE = "\u2603"
#: Names of the kinds in tables.
TITLES = {
    "phone": "phone numbers",
    "email": "mail addresses",
    "id": "ids and hardware addresses",
    "called id": "ids that are called so",
    "ip": "IP addresses",
    "key": "keys and tokens",
    "private key": "private keys, also line by line",
    "password": "passwords and codes in words",
    "file": "all kinds in file names",
    "harmless": "harmless look-alikes kept",
}


class Case(NamedTuple):
    """A text with a secret in it."""

    kind: str
    secret: str
    text: str


def planted() -> dict[str, Any]:
    """Return the forms and sentences of each set."""
    return yaml.safe_load(PLANTED.read_text(encoding="utf-8"))


def draw(form: str, rng: random.Random) -> str:
    """Return a secret of a form, as the file of forms explains them."""
    return re.sub(r"<([^<>]+)>", lambda match: _draw_part(match[1], rng), form)


def _draw_part(part: str, rng: random.Random) -> str:
    if match := re.fullmatch(r"([a-zA-Z])(\d+)", part):
        return "".join(rng.choices(CLASSES[match[1]], k=int(match[2])))
    name, _, how = part.partition(" ")
    return {
        "octet": lambda: str(rng.randrange(11, 255)),
        "password": lambda: _password(rng),
        "card": lambda: _card(rng, how),
        "iban": lambda: _iban(rng, how),
        "resident": lambda: _resident(rng, how),
        "ssn": lambda: f"{rng.randrange(100, 666)}-{rng.randrange(10, 99)}-{rng.randrange(1000, 9999)}",
        "imei": lambda: _luhn("35" + _digits(12, rng)),
        "cpf": lambda: _cpf(rng),
        "mac": lambda: _mac(rng, how),
    }[name]()


def _digits(count: int, rng: random.Random) -> str:
    return "".join(rng.choices(string.digits, k=count))


def _luhn(digits: str) -> str:
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def _card(rng: random.Random, how: str) -> str:
    number = _luhn(rng.choice(("4", "51", "55", "6222", "2221")).ljust(6, "0") + _digits(9, rng))
    groups = [number[place : place + 4] for place in range(0, 16, 4)]
    return {"": "", "-": "-", "spaced": " "}[how].join(groups)


def _iban(rng: random.Random, how: str) -> str:
    account = rng.choice(("37040044", "50010517", "10010010")) + _digits(10, rng)
    check = 98 - int(account + "131400") % 97
    number = f"DE{check:02}{account}"
    if how == "spaced":
        return " ".join(number[place : place + 4] for place in range(0, len(number), 4))
    return number.lower() if how == "lower" else number


def _resident(rng: random.Random, how: str) -> str:
    area = rng.choice(("110105", "310104", "440305", "510107", "330106"))
    for _ in range(1000):
        born = f"{rng.randrange(1950, 2006)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}"
        number = f"{area}{born}{_digits(3, rng)}"
        check = "10X98765432"[sum(int(digit) * pow(2, 17 - place) for place, digit in enumerate(number)) % 11]
        if (check == "X") == (how == "x"):
            break
    return number + (check.lower() if how == "x" else check)


def _cpf(rng: random.Random) -> str:
    digits = _digits(9, rng)
    for _ in range(2):
        digits += str(sum(int(each) * (len(digits) + 1 - place) for place, each in enumerate(digits)) * 10 % 11 % 10)
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


def _mac(rng: random.Random, how: str) -> str:
    digits = "00" + "".join(rng.choices(CLASSES["x"], k=10))
    if how == ".":
        return f"{digits[:4]}.{digits[4:8]}.{digits[8:]}"
    pairs = [digits[place : place + 2] for place in range(0, 12, 2)]
    return "-".join(pairs) if how == "-" else ":".join(pairs).upper() if how == "upper" else ":".join(pairs)


def _password(rng: random.Random) -> str:
    word = rng.choice(
        ("sunshine", "Tiger", "dragon", "Kaffee", "xiaoming", "winter", "Blau", "monkey", "hunter", "woaini")
    )
    other = rng.choice(("blue", "Moon", "Fire", "lake", "stern"))
    return rng.choice(
        (
            f"{word}{rng.randrange(1, 9999)}",
            f"{word}{rng.choice('!@#$%*')}{rng.randrange(10, 99)}",
            f"{word}-{other}-{rng.randrange(10, 99)}",
            f"{word.capitalize()}{other}{rng.randrange(1, 99)}{rng.choice('!?#')}",
            "".join(rng.choices(CLASSES["n"], k=rng.randrange(8, 14))) + str(rng.randrange(10)),
            "".join(rng.choices(CLASSES["n"] + "!#$%&*+-=?@^_", k=12)) + str(rng.randrange(10)),
            _digits(8, rng),
            word.replace("e", "3").replace("o", "0").replace("i", "1") + other,
        )
    )


def cases(forms_of: dict[str, Any], seed: int) -> Iterator[Case]:
    """Yield every secret in every sentence of its kind; those in file names are of the kind "file"."""
    rng = random.Random(f"secrets {seed}")
    for kind, forms in forms_of.items():
        if kind == "harmless":
            continue
        for sentence, form in forms.get("texts", ()):
            # A form with random parts is drawn several times.
            for _ in range(6 if "<" in form else 1):
                secret = draw(form, rng)
                yield Case(kind, secret, sentence.replace("{}", secret))
        for form in forms.get("forms", ()):
            for sentence in forms["sentences"]:
                secret = draw(form, rng)
                yield Case(kind, secret, sentence.replace("{}", secret))
            for name in forms.get("files", ()):
                secret = draw(form, rng)
                # Apps write file names without blanks and slashes.
                written = re.sub(r"[ /]", "_", secret)
                yield Case("file", written, name.replace("{}", written))


def is_left(secret: str, masked: str) -> bool:
    """Return True if half of a secret or more is left, whatever separates its characters."""
    plain, rest = (re.sub(r"[\W_]", "", each.casefold()) for each in (secret, re.sub(r"<\w+>", "\0", masked)))
    half = max(3, -(-len(plain) // 2))
    return any(plain[place : place + half] in rest for place in range(len(plain) - half + 1))


def measure(forms_of: dict[str, Any], seed: int, misses: list[str]) -> dict[str, tuple[int, int]]:
    """Return (found or kept, total) of each kind."""
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for case in cases(forms_of, seed):
        masked = (mask_file_name if case.kind == "file" else mask)(case.text, Counter())
        total[case.kind] += 1
        if is_left(case.secret, masked):
            misses.append(f"{case.kind}: {case.text!r} -> {masked!r}")
        else:
            found[case.kind] += 1
    for text in forms_of["harmless"]:
        masked = mask(text, Counter())
        total["harmless"] += 1
        found["harmless"] += masked == text
        if masked != text:
            misses.append(f"harmless: {text!r} -> {masked!r}")
    return {kind: (found[kind], total[kind]) for kind in TITLES if total[kind]}


def by_format(planted: list[Case]) -> Iterator[tuple[str, int, int]]:
    """Yield each export format with the number of secrets that are in none of its messages, and the total."""
    for name in chats.EXPORTS:
        # A log's lines cannot hold line breaks, and such a table has no file names.
        some = [case for case in planted if "\n" not in case.text or name.endswith((".json", ".jsonl", ".zip"))]
        if name.endswith((".csv", ".log")):
            some = [case for case in some if case.kind != "file"]
        days = (some[start : start + MOST_A_DAY] for start in range(0, len(some), MOST_A_DAY))
        yield name, len(some) - sum(left_in(name, day) for day in days), len(some)


def left_in(name: str, day: list[Case]) -> int:
    """Return the number of secrets that are left in an export after ingest."""
    said = [("qx_tibor77", f"{FILE}{case.text}" if case.kind == "file" else case.text) for case in day]
    if name.endswith(".csv"):
        said = [(who, text.replace('"', '""')) for who, text in said]
    with patch.object(chats, "SAID", said), tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        raw.mkdir()
        (raw / name).write_bytes(with_files(name, chats.EXPORTS[name]()))
        out = Path(folder) / "messages.parquet"
        ingest(raw, Pseudonyms(), out)
        texts = read_rows(out, MESSAGES)["text"].to_pylist()
    if len(texts) != len(day):
        raise click.ClickException(f"{name}: planted {len(day)} messages, ingest read {len(texts)}.")
    return sum(is_left(case.secret, text) for case, text in zip(day, texts, strict=True))


def with_files(name: str, export: bytes) -> bytes:
    """Return an export in which every text that starts with ``FILE`` is a file of that name instead."""
    if name == "slack.zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(export)) as read, zipfile.ZipFile(buffer, "w") as write:
            for member in read.namelist():
                rows = json.loads(read.read(member))
                write.writestr(member, json.dumps([_as_file(row) for row in rows], ensure_ascii=False))
        return buffer.getvalue()
    text = export.decode()
    if name == "wechat.json":
        decoder, place, rows = json.JSONDecoder(), 0, []
        while place < len(text.rstrip()):
            row, place = decoder.raw_decode(text, place)
            place += 1
            if row["data"]["content"].startswith(FILE):
                title = row["data"]["content"].removeprefix(FILE)
                row["messageType"] = "80009"
                row["data"]["content"] = f"<msg><appmsg><title><![CDATA[{title}]]></title></appmsg></msg>"
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
        return "".join(rows).encode()
    if name.endswith(".jsonl"):
        lines = (json.dumps(_as_file(json.loads(line)), ensure_ascii=False) for line in text.splitlines())
        return "\n".join(lines).encode()
    if name.endswith(".json"):
        chat = json.loads(text)
        chat["messages"] = [_as_file(message) for message in chat["messages"]]
        return json.dumps(chat, ensure_ascii=False, indent=1).encode()
    if name == "qq.txt":
        return text.replace(FILE, "[文件]").encode()
    return re.sub(rf"{FILE}(.*)", r"\1 (file attached)", text).encode()


def _as_file(row: dict[str, Any]) -> dict[str, Any]:
    """Return a message's record as a file's, in the fields of all formats that have files."""
    field = "content" if "author" in row else "text"
    if not str(row.get(field, "")).startswith(FILE):
        return row
    name = row[field].removeprefix(FILE)
    if "author" in row:
        file = {"id": "1", "url": "x", "fileName": name, "fileSizeBytes": 1}
        return {**row, "content": "", "attachments": [file]}
    if "from_id" in row:
        return {**row, "text": "", "file": "(File not included)", "file_name": name}
    if "ts" in row:
        return {**row, "text": "", "files": [{"name": name, "mimetype": "application/pdf"}]}
    return {**row, "text": name, "kind": "file"}


def irc_texts(folder: Path) -> list[str]:
    """Return the texts of the IRC logs below a folder."""
    lines = (
        line
        for path in sorted(folder.rglob("*.txt"))
        if "annotation" not in path.name
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    )
    said = re.compile(r"(?:\S+ \S+ )?\[\d\d:\d\d(?::\d\d)?\] <[^>]*>\s*(.*)")
    texts = [match[1] for line in lines if (match := said.match(line))]
    if not texts:
        raise click.ClickException(f"{folder}: expected IRC logs (*.txt) in this folder or below it, got none.")
    return texts


def cost(texts: list[str], examples: dict[str, list[str]]) -> tuple[float, float]:
    """Return the share of words that became placeholders, and messages per second of processor time."""
    counts: Counter[str] = Counter()
    start = time.process_time()
    masked = [mask(text, counts) for text in texts]
    seconds = time.process_time() - start
    for text, done in zip(texts, masked, strict=True):
        if text != done:
            for kind in KINDS:
                if f"<{kind}>" in done:
                    examples[kind].append(f"{text}\n      {done}")
    return counts.total() / sum(len(text.split()) for text in texts), len(texts) / seconds


def write_table(path: Path, rows: list[str]) -> None:
    """Replace the table between the two comments of a page."""
    page = path.read_text(encoding="utf-8")
    begin, end = "<!-- benchmarks.secrets -->", "<!-- end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise click.ClickException(f"{path}: expected a table between {begin} and {end}.")
    path.write_text("\n".join((before + begin, *rows, end)) + after, encoding="utf-8")


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,), show_default=True, help="Of the secrets.")
@click.option("--irc", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True, help="Real chats.")
@click.option("--formats", is_flag=True, help="Run ingest over a chat in every export format, too.")
@click.option("--show", type=click.Choice(SETS), multiple=True, help="Print what was missed in these sets.")
@click.option("--examples", type=int, default=0, show_default=True, help="Print so many masked texts of each kind.")
@click.option(
    "--write", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Page whose table to renew."
)
def main(
    seeds: tuple[int, ...],
    irc: tuple[Path, ...],
    formats: bool,
    show: tuple[str, ...],
    examples: int,
    write: Path | None,
) -> None:
    """Print how many secrets are found, and how many harmless texts are kept."""
    forms = planted()
    misses: dict[str, list[str]] = {name: [] for name in SETS}
    sums: dict[str, dict[str, tuple[int, int]]] = {name: defaultdict(lambda: (0, 0)) for name in SETS}
    for name in SETS:
        for seed in seeds:
            for kind, (found, total) in measure(forms[name], seed, misses[name]).items():
                sums[name][kind] = (sums[name][kind][0] + found, sums[name][kind][1] + total)
    rows = ["| | tuned | held out |", "| --- | ---: | ---: |"]
    rows += [
        f"| {title} | {' | '.join(_share(*sums[name][kind]) for name in SETS)} |" for kind, title in TITLES.items()
    ]
    if formats:
        os.environ.setdefault(KEY_VARIABLE, "only for this benchmark")
        results = [by_format([case for seed in seeds for case in cases(forms[name], seed)]) for name in SETS]
        for (name, *tuned), (_, *held_out) in zip(*results, strict=True):
            rows.append(f"| ingest of `{name}` | {_share(*tuned)} | {_share(*held_out)} |")
    for folder in irc:
        shown: dict[str, list[str]] = defaultdict(list)
        share, speed = cost(irc_texts(folder), shown)
        click.echo(f"{folder.name}: {share:.4%} of the words masked, {speed:,.0f} messages a second")
        for kind, texts in shown.items():
            for text in random.Random(seeds[0]).sample(texts, min(examples, len(texts))):
                click.echo(f"  {kind}: {text}")
    for name in show:
        click.echo("\n".join(misses[name]))
    click.echo("\n".join(rows))
    if write:
        write_table(write, rows)


def _share(found: int, total: int) -> str:
    return f"{found:,} of {total:,} ({found / total:.1%})"


if __name__ == "__main__":
    main()
