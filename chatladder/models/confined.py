"""Run the chat template and the tokenizer of an untrusted model in a child process with limited time and memory.

A chat template is a program, and a tokenizer has regular expressions and replacements: a loop or a power in them may
take years or all memory, and a failed allocation ends the process. So both run first in a child, without this process's
environment and its keys. Templates run only there, on fixed texts: the text that a template writes around them is kept,
and this process inserts the messages.

The child runs this file as a script, so that only the child imports jinja2 and tokenizers, and only its parent the rest
of the project.
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

#: The most characters of a template; the longest published ones have some 30,000.
LONGEST = 2**18
#: The most characters that a template may write around a short message.
MOST_WRITTEN = 2**20
#: The most processor seconds and bytes of a child by task. A template takes milliseconds and 30 MiB, the largest
#: tokenizers two seconds and 1 GiB.
LIMITS = {"write": (3, 2**30), "split": (30, 4 * 2**30)}
#: True if the system enforces them. macOS does not limit memory, Windows nothing: there a thread watches the child.
SYSTEM_LIMITS = sys.platform == "linux"
#: The timeout, long enough for busy processors; it ends a child that waits forever and uses no processor time.
WALL_SECONDS = 300
#: The date for every template, so that a prompt with the date is the same tomorrow.
TODAY = "26 Jul 2024"
#: Variables without which Python may fail to start.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class Written(NamedTuple):
    """The output of a template for one chat, or the reason why there is none.

    Attributes:
        text: The text; "" after an error.
        error: The reason; "" without an error.
    """

    text: str
    error: str = ""


def write_chats(
    template: str, variables: Mapping[str, Any], chats: Sequence[Sequence[Mapping[str, str]]]
) -> list[Written]:
    """Apply a chat template to each chat as transformers would, but with a fixed date.

    Args:
        template: The template, in jinja2.
        variables: Its variables besides the messages.
        chats: The messages of each chat, with ``role`` and ``content``.
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
    """Refuse a tokenizer.json that fails in a child process, before this process reads it.

    Args:
        path: The file.
        texts: Texts that it must split.

    Raises:
        DataError: If it fails, with the error of its reader.
    """
    from chatladder.io.console import DataError

    answers, error = _ask_child("split", json.dumps({"path": str(path), "texts": list(texts)}))
    if error := error or answers[0][1]:
        raise DataError(f"{path}: expected a tokenizer that loads, got: {error}")


def _ask_child(task: str, request: str) -> tuple[list[list[str]], str]:
    """Return the answers of a child process, or the reason why there are none."""
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
    """Kill a child that exceeds its limits."""
    import psutil

    with suppress(psutil.Error):  # the child has ended
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
    with suppress(ValueError, OSError):  # a lower limit is already set
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _compile(source: str) -> "Template":
    """Compile a template with the functions that transformers offers.

    Source:
        https://huggingface.co/docs/transformers/chat_templating_writing: ``tojson``, ``raise_exception``,
        ``strftime_now``, ``break`` and ``continue``, and the ``generation`` block, a mark that writes nothing.
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
    text.encode("utf-8")  # raises if it contains half a character
    return text, ""


def _reason(error: BaseException) -> str:
    return str(error)[:500] or type(error).__name__


def _write_all(request: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        template = _compile(request["template"])
    except Exception as error:  # a parser may raise any
        return [("", _reason(error))] * len(request["chats"])
    answers = []
    for chat in request["chats"]:
        try:
            answers.append(_write(template, chat, request["variables"]))
        except Exception as error:  # a program may raise any
            answers.append(("", _reason(error)))
    return answers


def _split_all(request: dict[str, Any]) -> list[tuple[str, str]]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(request["path"])
        for text in request["texts"]:
            tokenizer.decode(tokenizer.encode(text).ids)
    except BaseException as error:  # its panics are not an Exception
        return [("", _reason(error))]
    return [("", "")]


if __name__ == "__main__":
    if sys.argv[2:]:
        _limit(*map(int, sys.argv[2:]))
    sys.stdout.write(json.dumps({"write": _write_all, "split": _split_all}[sys.argv[1]](json.load(sys.stdin))))
