"""Write the numbers of the pages: both READMEs, benchmarks/README.md and docs/, wherever they are marked.

Example:
    python -m benchmarks.write

- ``<!-- NAME -->`` and ``<!-- /NAME -->``, on separate lines, enclose ``benchmarks/results/NAME.md``; on the page of
  benchmarks with its command, machine and date. ``result`` is the table of ``metrics/summary.md``, ``result_CHAT`` that
  of a chat in ``benchmarks/real``.
- ``<!-- n: FILE.KEY | FORMAT -->`` and ``<!-- /n -->``, inside a sentence, enclose one number of ``metrics/FILE.json``
  or of the figures of ``benchmarks/results/FILE.md``, in Python's format; ``CHAT.FILE.KEY`` one of a chat's metrics. A
  ``*100`` before the format turns a share into points. A result that is yet to be measured is a question mark.

Run it after ``dvc repro`` and after a benchmark; it prints the commands of benchmarks that are due.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.results import RESULTS, ROOT, Result, changed, read_all
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.files import read_json, whole_file

README, CHINESE, BENCHMARKS = "README.md", "README.zh-CN.md", "benchmarks/README.md"
BLOCK = re.compile(r"^<!-- (?P<name>[\w-]+) -->\n(?P<text>.*?)^<!-- /(?P=name) -->$", flags=re.M | re.S)
FIGURE = re.compile(
    r"<!-- n: (?P<key>[^|>]+?)(?: \|(?P<points> \*100)? (?P<form>[^\s>]+))? -->(.*?)<!-- /n -->", flags=re.S
)
#: The Chinese words of the cells of a result table.
IN_CHINESE = {
    "model": "模型",
    "parameters": "参数量",
    "untouched AUROC": "微调前 AUROC",
    "tuned AUROC": "微调后 AUROC",
    "tuned P": "精确率",
    "tuned R": "召回率",
    "tuned F1": "F1",
    "tuned macro-F1": "宏平均 F1",
    "above baselines [95 %]": "比最强基线提升 [95 %]",
    "pairs right": "成对准确率",
    "always needed": "全判“需要”",
    "naming rule": "专名规则",
    "fifteen counts": "十五个计数 + 提升树",
    "words: line": "词特征 + 线性模型",
    "words: trees": "词特征 + 提升树",
}
#: Blocks of the pages that other tests check.
NO_RESULTS = ("tree", "layers")


def pages() -> list[str]:
    """Return the pages that may hold numbers, relative to the root."""
    docs = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return [README, CHINESE, BENCHMARKS, *docs]


def described(result: Result) -> str:
    """Return a result as the page of benchmarks shows it: its commands, its text, and the machine."""
    commands = "\n".join(f"    {line}" for command in result.commands for line in command.splitlines())
    if not result.text:
        return f"\n{commands}\n\nNot measured on this demo yet.\n"
    made = "; ".join(filter(None, (result.date, result.machine, result.note)))
    return f"\n{commands}\n\n{result.text}\n\n<sub>{made}.</sub>\n"


def figure(key: str, form: str, points: bool, sources: Mapping[str, Any], place: str) -> str:
    """Return one number for a sentence.

    Raises:
        DataError: If there is no such number.
    """
    name, _, rest = key.partition(".")
    found = sources.get(name)
    if isinstance(found, Result):
        if not found.text:
            return "?"
        found = found.figures
    path = rest.split(".")
    while path and isinstance(found, Mapping):
        found = found.get(path.pop(0))
    if path or not isinstance(found, str | int | float):
        raise DataError(
            f"{place}: expected a number {rest} of metrics/{name}.json or of the figures of benchmarks/results/"
            f"{name}.md, got none. Name another in the marker, or measure it again."
        )
    try:
        return format(100 * found if points else found, form)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: {key}: {error} ({found!r}). Give another format in the marker.") from error


def projects() -> dict[str, Path]:
    """Return the project of each result table, by its block: the demo, and the real chats."""
    locks = (ROOT / "benchmarks" / "real").glob("*/dvc.lock")
    return {"result": ROOT} | {f"result_{lock.parent.name}": lock.parent for lock in locks}


def metrics_of(project: Path) -> dict[str, Any]:
    """Return the metrics of a project, by the path of their file below ``metrics``, without its suffix."""
    folder = project / "metrics"
    return {path.relative_to(folder).with_suffix("").as_posix(): read_json(path) for path in folder.rglob("*.json")}


def written(page: str, text: str, results: Mapping[str, Result]) -> str:
    """Return the text of a page with current numbers."""
    tables = projects()
    chats = {project.name: metrics_of(project) for project in tables.values() if project != ROOT}
    metrics = metrics_of(ROOT) | chats

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        if name in tables:
            summary = (tables[name] / "metrics" / "summary.md").read_text(encoding="utf-8")
            content = summary.removeprefix("# Summary").strip()
            if page in (README, CHINESE):  # only the table
                content = content.partition("\n\n")[0]
            if page == CHINESE:
                content = re.sub(r"(?<=\| )[^|]+(?= \|)", lambda cell: IN_CHINESE.get(cell[0], cell[0]), content)
        elif name in results:
            content = described(results[name]) if page == BENCHMARKS else results[name].text
        elif name in NO_RESULTS:
            return found[0]
        else:
            raise DataError(f"{page}: expected {RESULTS.name}/{name}.md for <!-- {name} -->, got no such file.")
        return f"<!-- {name} -->\n{content}\n<!-- /{name} -->"

    def number(found: re.Match[str]) -> str:
        place = f"{page}, {found['key']}"
        value = figure(found["key"], found["form"] or "", bool(found["points"]), {**metrics, **results}, place)
        return f"{found[0].partition('-->')[0]}-->{value}<!-- /n -->"

    return FIGURE.sub(number, BLOCK.sub(block, text))


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Write all numbers of the pages, and name the benchmarks that are due."""
    results = read_all()
    for page in pages():
        path: Path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = written(page, old, results)
        if new != old:
            with whole_file(path) as temporary:
                temporary.write_text(new, encoding="utf-8")
            click.echo(f"{page}: written")
    for name, result in results.items():
        if not result.text or changed(result):
            click.echo("\n".join([f"due: {name}", *(f"    {command}" for command in result.commands)]))


if __name__ == "__main__":
    main()
