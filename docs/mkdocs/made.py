"""Parts of pages that are generated from sources: dvc.yaml, params.yaml, chatladder/io/rows.py, the commands."""

import ast
import importlib
import inspect
import io
import re
import shlex
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import graph
import yaml

ROOT = Path(__file__).resolve().parents[2]
Link = Callable[[str, str], str]  # page and anchor -> address relative to the current page


def make(name: str, argument: str | None, link: Link) -> str:
    """Return the Markdown for one ``<!-- made: name argument -->``."""
    makers: dict[str, Callable[[], Iterable[str]]] = {
        "graph": lambda: _graph(link),
        "stages": _stages,
        "stage-commands": _stage_commands,
        "commands": _commands,
        "params": lambda: _params(argument or ""),
        "rows": lambda: _rows(argument or ""),
    }
    return "\n".join(makers[name]())


def read(path: str) -> str:
    """Return the content of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def table(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    for row in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell if "`" in cell else cell.replace("|", "&#124;") for cell in row) + " |"


def codes(words: Iterable[str]) -> str:
    """Return words as code, separated by commas."""
    return ", ".join(f"`{word}`" for word in words)


def _graph(link: Link) -> Iterator[str]:
    stages = graph.active(yaml.safe_load(read("dvc.yaml")), yaml.safe_load(read("params.yaml")))
    svg = graph.draw(stages, lambda stage: link("reference/stages.md", stage))
    yield f'<figure class="graph">{svg}</figure>'


def _stages() -> Iterator[str]:
    """Yield every stage of dvc.yaml: its purpose, inputs, outputs and params, and its module's docstring."""
    described: set[str] = set()
    for name, stage in yaml.safe_load(read("dvc.yaml"))["stages"].items():
        each = stage.get("foreach")
        stage = stage.get("do", stage)
        module = shlex.split(stage["cmd"])[2]
        yield from (f"## `{name}` {{ #{name} }}", "", stage["desc"], "")
        if each:
            yield from (f"One for each key of `{each.strip('${}')}`: `{name}@key`.", "")
        yield from table(("", ""), _facts(stage, module))
        yield ""
        if module in described:
            yield from (f"The same command as above, `{module}`.", "")
        else:
            yield from prose(inspect.getdoc(importlib.import_module(module)) or "")
        described.add(module)


def _facts(stage: dict[str, Any], module: str) -> Iterator[tuple[str, str]]:
    deps = [_key(dep) for dep in graph.names(stage.get("deps", []))]
    yield "reads", codes(dep for dep in deps if not dep.startswith("stages")) or "nothing but its params"
    outs = graph.names([*stage.get("outs", []), *stage.get("metrics", [])])
    yield "writes", codes(map(_key, outs))
    yield "params", codes(map(_key, stage.get("params", []))) or "none"
    anchor = module.replace("stages.", "python-m-stages").replace(".", "")
    yield "command", f"[`python -m {module}`](stage-commands.md#{anchor})"


def _key(path: str) -> str:
    return re.sub(r"\$\{(?:key|item)\}", "KEY", path).replace("${task}", "TASK")


def prose(docstring: str) -> Iterator[str]:
    """Yield a module's docstring as Markdown: its example as code, its source as a sentence."""
    text = re.sub(r"^Example:\n((?:(?: {4}.*)?\n)+)", _fenced, docstring + "\n", flags=re.M)
    text = re.sub(r"^Source:\n((?: {4}.*\n)+)", _sentence, text, flags=re.M)
    yield plain(text.replace("``", "`"))


def plain(text: str) -> str:
    """Return plain text as Markdown that displays it unchanged: ``*`` and ``<`` outside code are escaped."""
    pieces = re.split(r"(~~~.*?~~~|`[^`]*`)", text, flags=re.S)
    pieces[::2] = [re.sub(r"\*(?! )", r"\\*", piece.replace("<", "&lt;")) for piece in pieces[::2]]
    return "".join(pieces)


def _sentence(found: re.Match[str]) -> str:
    return f"Source: {inspect.cleandoc(found[1])}\n"


def _fenced(found: re.Match[str]) -> str:
    return f"~~~bash\n{textwrap.dedent(found[1]).strip()}\n~~~\n\n"


def _stage_commands() -> Iterator[str]:
    seen = dict.fromkeys(
        shlex.split(stage.get("do", stage)["cmd"])[2] for stage in yaml.safe_load(read("dvc.yaml"))["stages"].values()
    )
    for module in seen:
        yield from _click(module, "main", f"python -m {module}")


def _commands() -> Iterator[str]:
    """Yield every command of ``chatladder``, including those of groups, each with its example."""
    chatladder = importlib.import_module("chatladder.cli.app").main
    for name in sorted(chatladder.commands):
        command = chatladder.commands[name]
        module = _home(command)
        attribute = next(key for key, value in vars(module).items() if value is command)
        yield from _click(module.__name__, attribute, f"chatladder {name}")
        yield from prose(inspect.cleandoc((command.epilog or "").lstrip("\b\n")))


def _home(command: click.Command) -> Any:
    """Return the module in which a command is defined."""
    wrapped = inspect.unwrap(command.callback) if command.callback else None
    return importlib.import_module(wrapped.__module__ if wrapped else "chatladder.cli.app")


def _click(module: str, attribute: str, program: str) -> Iterator[str]:
    _escape(getattr(importlib.import_module(module), attribute))
    yield from ("::: mkdocs-click", f"    :module: {module}", f"    :command: {attribute}")
    yield from (f"    :prog_name: {program}", "    :depth: 1", "")


_SETTING = re.compile(
    r"^(?P<off># )?(?P<indent> *)(?P<key>[\w]+):(?: +(?P<value>[^#\s][^#]*?))?\s*(?:#\s*(?P<say>.*))?$"
)


def settings() -> dict[str, tuple[str, list[tuple[str, str, str]]]]:
    """Return params by section: its comment, and name, value and comment of each setting below it."""
    sections: dict[str, tuple[str, list[tuple[str, str, str]]]] = {}
    way: list[tuple[int, str]] = []
    for line in read("params.yaml").splitlines():
        off = re.match(r"^( +)# (?=\w+:)", line)
        found = _SETTING.match(f"{off[1]}{line[off.end() :]}" if off else line)
        if not found:
            continue
        indent, key, value = len(found["indent"]), found["key"], found["value"] or ""
        way = [(at, name) for at, name in way if at < indent] + [(indent, key)]
        comment = (found["say"] or "").strip()
        if indent == 0:
            sections[key] = (comment, [] if not value else [(key, value, comment)])
            continue
        if value:
            name = ".".join(name for _, name in way[1:])
            sections[way[0][1]][1].append((name, f"{value} (off)" if off else value, comment))
    return sections


def _params(section: str) -> Iterator[str]:
    """Yield the table of one section, and the stages that depend on it."""
    comment, rows = settings()[section]
    if comment and rows and rows[0][0] != section:
        yield from (comment[0].upper() + comment[1:] + ".", "")
    if section == "ladder":
        yield from ("```yaml", *_section(section), "```")
    else:
        yield from table(("setting", "in the demo", ""), ((f"`{n}`", _value(v), c) for n, v, c in rows))
    heeding = []
    for name, stage in yaml.safe_load(read("dvc.yaml"))["stages"].items():
        stage = stage.get("do", stage)
        if any(str(param).split(".")[0] == section for param in stage.get("params", [])):
            heeding.append(f"[`{name}`](stages.md#{name})")
    if heeding:
        yield from ("", f"A change runs again: {', '.join(heeding)}, and what depends on them.")


def _escape(command: click.Command) -> None:
    """Escape click's help, which is plain text, once, since mkdocs-click treats it as Markdown."""
    if "&lt;" not in (command.help or "") and "\\*" not in (command.help or ""):
        command.help = plain(command.help or "")
    for each in getattr(command, "commands", {}).values():
        _escape(each)


def _value(value: str) -> str:
    """Return a value as code; a value on a line that is commented out is marked so."""
    shown = value.removesuffix(" (off)")
    return f"`{shown}`" + (", not set" if shown != value else "")


def _section(name: str) -> list[str]:
    """Return the lines of a section of params.yaml."""
    found = re.search(rf"^{name}:.*\n(?:(?: .*)?\n)*", read("params.yaml") + "\n", flags=re.M)
    return found[0].rstrip().splitlines() if found else []


def schemas() -> dict[str, list[tuple[str, str, str]]]:
    """Return the schemas of ``chatladder/io/rows.py``: the columns of each, with type and comment."""
    source = read("chatladder/io/rows.py")
    said = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, list[tuple[str, str, str]]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("pa.schema"):
            columns: list[tuple[str, str, str]] = []
            for item in node.value.args[0].elts:  # type: ignore[attr-defined]
                if isinstance(item, ast.Starred):
                    columns += found[ast.unparse(item.value)]
                else:
                    name, kind = item.elts
                    columns.append((ast.literal_eval(name), _kind(ast.unparse(kind)), said.get(item.lineno, "")))
            found[ast.unparse(node.targets[0])] = columns
    return found


def _kind(source: str) -> str:
    if source == "WINDOW":
        return "list of (sender, text, timestamp)"
    return re.sub(r"pa\.(\w+?)_?\(\)", r"\1", source).replace("pa.list_(", "list of ").rstrip(")")


def _rows(schema: str) -> Iterator[str]:
    rows = ((f"`{name}`", kind, comment) for name, kind, comment in schemas()[schema])
    return table(("column", "type", ""), rows)
