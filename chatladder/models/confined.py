"""Run what a stranger's model brings along in a process of its own, with little time and memory.

A chat template is a program, and a tokenizer comes with regular expressions and replacements: a loop or a power in them
may take years or all memory, and then the reader ends its process. So both run in a child first, without this
process's environment and its keys. Templates run there alone, and on fixed texts: what one writes around them is kept,
and messages are put in here.

The child runs this file by itself, so only it imports jinja2 and tokenizers, and only its parent the rest of the
project.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jinja2 import Template

#: Characters of a template; the longest that are published have some 30,000.
LONGEST = 2**18
#: Characters that it may write around a short message.
MOST_WRITTEN = 2**20
#: Processor seconds and bytes that a child may use. A template takes milliseconds and 30 MiB, the largest tokenizers
#: two seconds and 1 GiB.
LIMITS = {"write": (3, 2**30), "split": (30, 4 * 2**30)}
#: Whether the system holds a child to them. macOS sets no limit to memory and Windows none at all: there we watch it.
SYSTEM_LIMITS = sys.platform == "linux"
#: For starved cores; a child that waits forever has used no processor time.
WALL_SECONDS = 300
#: The only day there is: what a template tells of it is the same tomorrow, and so is the prompt.
TODAY = "26 Jul 2024"
#: Variables without which Python may not start.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class Written(NamedTuple):
    """One chat in a template, or why it is not.

    Attributes:
        text: The text that was written; "" if none was.
        error: Why; "" if it was written.
    """

    text: str
    error: str = ""


def write_chats(
    template: str, variables: Mapping[str, Any], chats: Sequence[Sequence[Mapping[str, str]]]
) -> list[Written]:
    """Write each chat as transformers would, but on a day that does not change.

    Args:
        template: In jinja2.
        variables: What it may use beside the messages.
        chats: Messages of each, with ``role`` and ``content``.
    """
    if len(template) > LONGEST:
        return [Written("", f"it has {len(template):,} characters, and {LONGEST:,} are allowed")] * len(chats)
    request = {"template": template, "variables": dict(variables), "chats": [list(chat) for chat in chats]}
    answers, error = _written(json.dumps(request))
    return [Written("", error)] * len(chats) if error else [Written(*each) for each in answers]


@lru_cache(maxsize=64)
def _written(request: str) -> tuple[list[list[str]], str]:
    return _ask_child("write", request)


def try_tokenizer(path: Path, texts: Sequence[str]) -> None:
    """Refuse a tokenizer.json that its reader cannot cope with, before it is read here.

    Args:
        path: The file.
        texts: Texts that it is to split.

    Raises:
        DataError: With what its reader says.
    """
    from chatladder.io.console import DataError

    answers, error = _ask_child("split", json.dumps({"path": str(path), "texts": list(texts)}))
    if error := error or answers[0][1]:
        raise DataError(f"{path}: expected a tokenizer that loads, got: {error}")


def _ask_child(task: str, request: str) -> tuple[list[list[str]], str]:
    """The answers of a child, or the reason why there are none."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    seconds, memory = LIMITS[task]
    command = [sys.executable, "-I", __file__, task, *([str(seconds), str(memory)] if SYSTEM_LIMITS else [])]
    environment["TOKENIZERS_PARALLELISM"] = "false"
    pipe, is_over = subprocess.PIPE, Event()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", env=environment) as child:
        if not SYSTEM_LIMITS:
            Thread(target=_watch, args=(child, seconds, memory, is_over), daemon=True).start()
        try:
            output, error = child.communicate(request, timeout=WALL_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return [], f"it takes more than {WALL_SECONDS} seconds"
    if child.returncode < 0 or is_over.is_set():
        return [], f"it takes more than {seconds} processor seconds or {memory // 2**20:,} MiB"
    if child.returncode:
        return [], error.strip().rpartition("\n")[2]
    return json.loads(output), ""


def _watch(child: "subprocess.Popen[str]", seconds: int, memory: int, is_over: Event) -> None:
    """End a child that takes more than it may."""
    import psutil

    with suppress(psutil.Error):  # it has ended
        process = psutil.Process(child.pid)
        while child.poll() is None:
            used = process.cpu_times()
            if used.user + used.system > seconds or process.memory_info().rss > memory:
                is_over.set()
                child.kill()
            time.sleep(0.02)


def _limit(seconds: int, memory: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # a lower one holds already
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _compile(source: str) -> "Template":
    """A template with what transformers offers it.

    Source:
        https://huggingface.co/docs/transformers/chat_templating_writing: ``tojson``, ``raise_exception``,
        ``strftime_now``, ``break`` and ``continue``, and the ``generation`` block, which marks and writes nothing.
    """
    from jinja2 import TemplateError, ext, nodes, parser, utils
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012  jinja2's own type

        def parse(self, parser: parser.Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    class Namespace(utils.Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a namespace takes no name with an underscore in front, such as {name!r}")
            super().__setitem__(name, value)

    def namespace(*pairs: Any, **values: Any) -> Namespace:
        made = Namespace()
        for name, value in dict(*pairs, **values).items():
            made[name] = value
        return made

    def new_dict(*pairs: Any, **values: Any) -> dict[Any, Any]:
        return dict(*pairs, **values)

    def refuse(message: object) -> None:
        raise TemplateError(str(message))

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda _format: TODAY,
        "dict": new_dict,
        "namespace": namespace,
    }
    return environment.from_string(source)


def _write(template: "Template", chat: Any, variables: dict[str, Any]) -> tuple[str, str]:
    parts, length = [], 0
    for part in template.generate(messages=chat, tools=None, documents=None, **variables):
        parts.append(part)
        length += len(part)
        if length > MOST_WRITTEN:
            return "", f"it writes more than {MOST_WRITTEN:,} characters around a short message"
    text = "".join(parts)
    text.encode("utf-8")  # half a character is no text
    return text, ""


def _reason(error: BaseException) -> str:
    return str(error)[:500] or type(error).__name__


def _write_all(request: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        template = _compile(request["template"])
    except Exception as error:  # whatever a reader of programs stumbles over
        return [("", _reason(error))] * len(request["chats"])
    answers = []
    for chat in request["chats"]:
        try:
            answers.append(_write(template, chat, request["variables"]))
        except Exception as error:  # whatever a program may do
            answers.append(("", _reason(error)))
    return answers


def _split_all(request: dict[str, Any]) -> list[tuple[str, str]]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(request["path"])
        for text in request["texts"]:
            tokenizer.decode(tokenizer.encode(text).ids)
    except BaseException as error:  # its panics are no Exception
        return [("", _reason(error))]
    return [("", "")]


if __name__ == "__main__":
    if sys.argv[2:]:
        _limit(*map(int, sys.argv[2:]))
    sys.stdout.write(json.dumps({"write": _write_all, "split": _split_all}[sys.argv[1]](json.load(sys.stdin))))
