"""Swap the rungs of params.yaml and of dvc.yaml, as texts: what is not about rungs keeps every byte.

params.yaml holds the rungs themselves. dvc.yaml repeats their keys where a stage gathers all of them: as options
(``--rung a --rung b``) and as one path a line that is the same but for the key. The stage that judges labels names
those of ``review.rungs`` in the same two ways.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatladder.io.console import DataError
from chatladder.presets import Catalogue
from chatladder.presets.nodes import Edit, block, child, compose, keys, plain, replace, section_span, span

#: What marks a path of the rungs whose adapters judge labels.
REVIEW = "out_of_fold"
#: A key in a path: data/bases/KEY, data/bases/KEY/plots, data/predictions/vanilla/KEY.parquet.
_PATH = r"(?<=/)({})(?![\w-])"
_OPTION = r"--(?P<option>(?:tuned-)?rung)[ =](?:{keys})(?!\w)(?:\s+--(?P=option)[ =](?:{keys})(?!\w))*"


@dataclass(frozen=True)
class Rungs:
    """The keys that a project's files name: all rungs, and those whose adapters judge labels."""

    ladder: list[str]
    review: list[str]


def rungs_of(params: str, place: str) -> Rungs:
    """The keys that params.yaml names.

    Raises:
        DataError: If ``ladder`` or ``review.rungs`` is not there, or not one entry a line, or names no rung.
    """
    root = compose(params, place)
    rungs = Rungs(*(keys(block(root, path, place)[1]) for path in ("ladder", "review.rungs")))
    if not {*rungs.review} <= {*rungs.ladder}:
        raise DataError(f"{place}: expected review.rungs to be rungs of the ladder, got {', '.join(rungs.review)}.")
    return rungs


def swap_params(
    text: str, catalogue: Catalogue, rungs: Rungs, revisions: Mapping[str, str | None], place: str
) -> tuple[str, list[str]]:
    """params.yaml with other rungs, and what else changed, line by line.

    Args:
        text: Of params.yaml, with line feeds alone.
        catalogue: Where the rungs come from.
        rungs: Which of them are written.
        revisions: Commit of each hub rung; None leaves it out.
        place: Name of the file, for errors.

    Raises:
        DataError: If the file lacks a section or a value that is to be replaced.
    """
    root = compose(text, place)
    ladder, review = (block(root, path, place)[1] for path in ("ladder", "review.rungs"))
    lines = [_with_revision(catalogue.texts[key], revisions.get(key)) for key in rungs.ladder]
    remark = _remark(text, review)
    judging = [_judge(catalogue, key, remark if number == 0 else None) for number, key in enumerate(rungs.review)]
    edits: list[Edit] = [
        (*section_span(text, ladder), "\n".join(lines)),
        (*section_span(text, review), "\n".join(judging)),
    ]
    changes = []
    for path, value in catalogue.params.items():
        _, node = child(root, path, place)
        if not isinstance(node.value, str):
            raise DataError(f"{place}:{node.start_mark.line + 1}: expected {path} as one value, got a section.")
        if node.value != value:
            edits.append((node.start_mark.index, node.end_mark.index, value))
            changes.append(f"{path}: {node.value} -> {value}")
    new = replace(text, edits)
    _only_these_changed(text, new, ["ladder", "review.rungs", *catalogue.params], place)
    written = plain(new)
    trains = {key: {"train": catalogue.rungs[key]["train"]} for key in rungs.review}
    if [*written["ladder"]] != rungs.ladder or written["review"]["rungs"] != trains:
        raise DataError(f"{place}: the rungs of {catalogue.name} do not go into its form; edit it by hand.")
    return new, changes


def _with_revision(rung: str, revision: str | None) -> str:
    """A rung's lines with this commit, whatever commit they named before."""
    rung = re.sub(r"\n +revision:.*", "", rung)
    if revision is None:
        return rung
    # In quotes: a commit of digits alone, or with one e among them, would be a number.
    return re.sub(r"(\n +)(repo:.*)", rf'\1\2\1revision: "{revision}"', rung, count=1)


def _judge(catalogue: Catalogue, key: str, remark: tuple[int, str] | None) -> str:
    """The lines of one rung under ``review.rungs``: its train section again, two columns further in."""
    lines = [f"  {line}" for line in catalogue.train_texts[key].split("\n")]
    if remark:
        column, comment = remark
        lines[0] = f"{lines[0]:<{column - 1}} {comment}"
    return "\n".join([f"    {key}:", *lines])


def _remark(text: str, review: Any) -> tuple[int, str] | None:
    """Column and text of the comment behind the first ``train`` of ``review.rungs``: it holds for any rung."""
    _, rung = review.value[0]
    if not isinstance(rung.value, list):
        return None
    for key, value in rung.value:
        if key.value == "train":
            after = value.end_mark.index if getattr(value, "flow_style", True) else key.end_mark.index + 1
            line = text[after : text.find("\n", after)]
            if line.strip().startswith("#"):
                column = text.find("#", after) - text.rfind("\n", 0, after) - 1
                return column, line.strip()
    return None


def _only_these_changed(before: str, after: str, paths: Sequence[str], place: str) -> None:
    """Hold the edit to its promise.

    Raises:
        DataError: If anything but these values differs; nothing has been written yet.
    """
    compose(after, place)
    contents = [plain(before), plain(after)]
    for content in contents:
        for path in paths:
            *parents, last = path.split(".")
            section = content
            for part in parents:
                section = section[part]
            section[last] = None
    if contents[0] != contents[1]:
        raise DataError(f"{place}: its form keeps its rungs from being replaced alone; edit them by hand.")


def swap_pipeline(text: str, old: Rungs, new: Rungs, place: str) -> tuple[str, list[str]]:
    """dvc.yaml with other rungs, and the stages and plots that named them.

    Raises:
        DataError: If it names rungs in another way than all of them, in their order.
    """
    named = _named_in(text, old, place)
    if not named:
        raise DataError(f"{place}: expected stages that name the rungs of params.yaml, got none.")
    changed = _swapped(text, old, new, place)
    back = _swapped(changed, new, old, place)
    if back != text and _words(plain(back)) != _words(plain(text)):
        raise DataError(f"{place}: its form keeps its rungs from being put back; edit them by hand.")
    return changed, named


def _swapped(text: str, old: Rungs, new: Rungs, place: str) -> str:
    text = _swap_options(text, old, new, place)
    text = _swap_paths(text, old, new, place)
    compose(text, place)
    gone = [key for key in old.ladder if key not in new.ladder]
    if gone and (left := re.search(_mention(gone), text)):
        line = text.count("\n", 0, left.start()) + 1
        raise DataError(f"{place}:{line}: still names {left[0]}, in a way that is not known; edit it by hand.")
    return text


def _mention(names: Sequence[str]) -> str:
    either = "|".join(map(re.escape, names))
    return rf"(?:{_PATH.format(either)}|(?<=rung[ =])[\"']?(?:{either})(?!\w))"


def _swap_options(text: str, old: Rungs, new: Rungs, place: str) -> str:
    """Replace each run of ``--rung KEY`` or ``--tuned-rung KEY``."""
    known = "|".join(map(re.escape, old.ladder))

    def swap(found: re.Match[str]) -> str:
        option = found["option"]
        expected, wanted = (old.review, new.review) if option == "tuned-rung" else (old.ladder, new.ladder)
        named = [word for word in re.split(r"[\s=]+", found[0]) if not word.startswith("--")]
        _check_named(named, expected, f"{place}:{text.count(chr(10), 0, found.start()) + 1}: --{option}")
        # On one line, however many: another form would have to be undone on the way back.
        separator = found[0][len(f"--{option}")]
        return " ".join(f"--{option}{separator}{key}" for key in wanted)

    return re.sub(_OPTION.format(keys=known), swap, text)


def _swap_paths(text: str, old: Rungs, new: Rungs, place: str) -> str:
    """Replace each run of lines that are one path but for the key."""
    pattern = re.compile(_PATH.format("|".join(map(re.escape, sorted(old.ladder, key=len, reverse=True)))))
    out: list[str] = []
    run: list[str] = []
    shape = ""

    def close(line: int) -> None:
        if run:
            expected, wanted = (old.review, new.review) if REVIEW in shape else (old.ladder, new.ladder)
            _check_named(run, expected, f"{place}:{line - len(run)}: {shape.strip().replace(chr(0), '...')}")
            out.extend(shape.replace("\0", key) for key in wanted)
            run.clear()

    number = 0
    for number, line in enumerate(text.split("\n"), start=1):
        found = [] if line.lstrip().startswith("#") else pattern.findall(line)
        if len(found) > 1:
            raise DataError(f"{place}:{number}: expected a line for each path of a rung, got {len(found)} in one.")
        template = pattern.sub("\0", line) if found else ""
        if template != shape:
            close(number)
            shape = template
        if found:
            run.extend(found)
        else:
            out.append(line)
    close(number + 1)
    return "\n".join(out)


def _check_named(named: Sequence[str], expected: Sequence[str], where: str) -> None:
    if [*named] != [*expected]:
        raise DataError(
            f"{where}: expected the rungs {', '.join(expected)}, in this order, as in params.yaml; got "
            f"{', '.join(named)}. Make the two files agree first."
        )


def _words(value: Any) -> Any:
    """A YAML content with every text in words: where a long command is folded does not matter."""
    if isinstance(value, dict):
        return {_words(key) if isinstance(key, str) else key: _words(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_words(child) for child in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def _named_in(text: str, rungs: Rungs, place: str) -> list[str]:
    """Stages, and other sections, that name rungs."""
    mention = re.compile(_mention(rungs.ladder))
    root = compose(text, place)
    found = []
    for key, value in root.value:
        for name, node in value.value if key.value == "stages" else [(key, value)]:
            start, end = span(text, name, node)
            if mention.search(text[start:end]):
                found.append(str(name.value))
    return found
