"""Would the tests notice? Small faults, one at a time, in the modules whose numbers nobody checks by eye.

Needs mutmut 3.8 (``pip install mutmut``), which nothing else here depends on. Run it in the repository's root; it works
on a copy.

Example:
    python -m benchmarks.mutants --group gate --copy /tmp/mutants

A fault (mutant) is a changed operator, number, text, argument or assignment. Every test that calls the changed function
runs; one that fails kills the mutant. mutmut skips decorated functions, which here are the commands and the properties
that decide on an item, so the copy has ``name = decorator(name)`` after the function instead. Code outside functions
(constants, the options of a command) is not changed.

Slow tests are left out, and hypothesis takes the same examples every time. An existing copy is reused: only functions
that changed are tested again. Prints a line for each module and the name of every surviving mutant; ``cd COPY && mutmut
show NAME`` shows its change.
"""

import ast
import gc
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from chatladder.io.console import SETTINGS, example

GATE_TESTS = (
    *(f"evaluation/test_{name}.py" for name in ("gate", "label_sets", "statistics")),
    "stages/test_check_scaling.py",
)
#: The modules to change, and the tests that should notice.
GROUPS = {
    "merge": (
        ("stages/merge",),
        (
            "stages/test_merge.py",
            "distributed/test_engine.py::test_turns_of_ranges_are_those_of_the_whole",
            "distributed/test_engine.py::test_one_turn_of_many_messages_is_one_range",
        ),
    ),
    "labels": (
        (
            "stages/label",
            *(
                f"chatladder/labels/{name}"
                for name in ("folds", "agreement", "label_sets", "review", "rounds", "verdicts")
            ),
        ),
        (
            "stages/test_label.py",
            "labels/test_annotation.py",
            "cli/test_review.py::TestBegin",
            "cli/test_review.py::TestFlips",
        ),
    ),
    "gate": (
        tuple(f"chatladder/evaluation/{name}" for name in ("gate", "label_sets", "rungs", "scaling_check", "scores")),
        GATE_TESTS,
    ),
}
#: A slow test of a log's file, which is not changed here.
LEFT_OUT = "cut_at_any_byte"
#: Hypothesis then takes the same examples every time and has no deadline, which a busy machine would miss.
ENVIRONMENT = {
    "CI": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # saves a third of pytest's start
}
#: mutmut's exit codes for a mutant that passes all tests, and for one that no test calls.
SURVIVED = {0: "survived", 33: "no test", 5: "no test"}
TIMEOUTS = {36, -24, 24, 152, 255}


def pytest_configure() -> None:
    """Turn garbage collection off, as a plugin: a mutant that scans its parent's objects takes 3 times as long."""
    gc.freeze()
    gc.disable()


def bare(source: str) -> str:
    """Return the module with every function's decorators called after it."""
    lines = source.splitlines(keepends=True)
    decorated = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    for node in sorted(decorated, key=lambda node: node.lineno, reverse=True):
        call = node.name
        for decorator in reversed(node.decorator_list):
            call = f"{ast.unparse(decorator)}({call})"
        first = node.decorator_list[0].lineno - 1
        after = f"{' ' * node.col_offset}{node.name} = {call}\n"
        lines[first : node.end_lineno] = [*lines[node.lineno - 1 : node.end_lineno], after]
    return "".join(lines)


def prepare(copy: Path, modules: tuple[str, ...], tests: tuple[str, ...]) -> None:
    """Update a copy: the whole repository, with the modules made ``bare`` and mutmut configured."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    top = set()
    for name in filter(None, tracked.stdout.split("\0")):
        path = Path(name)
        if not path.is_file():
            continue
        top.add(path.parts[0])
        is_changed = path.suffix == ".py" and str(path.with_suffix("")) in modules
        content = bare(path.read_text("utf-8")).encode() if is_changed else path.read_bytes()
        for target in (copy / path, *([copy / "mutants" / path] if path.parts[0] == "tests" else [])):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != content:
                target.write_bytes(content)
    settings = {
        "source_paths": ["chatladder", "stages"],
        "only_mutate": [f"{module}.py" for module in modules],
        "also_copy": sorted(top - {"chatladder", "stages", "tests", "pyproject.toml"}),
        "pytest_add_cli_args": ["-p", "benchmarks.mutants", "-m", "not slow", "-k", f"not {LEFT_OUT}"],
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in tests],
        "timeout_multiplier": 5.0,
        "timeout_constant": 2.0,
        "track_dependencies": False,
    }
    text = Path("pyproject.toml").read_text("utf-8") + "\n[tool.mutmut]\n"
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (copy / "pyproject.toml").write_text(text, "utf-8")


def results(copy: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield every mutant of a module, and its result."""
    codes = json.loads((copy / "mutants" / f"{module}.py.meta").read_text("utf-8"))["exit_code_by_key"]
    for name, code in codes.items():
        yield name, "timeout" if code in TIMEOUTS else SURVIVED.get(code, "not run" if code is None else "killed")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--group", type=click.Choice([*GROUPS]), required=True, help="What is changed.")
@click.option("--copy", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to work in.")
@click.option("--digits", help="Only mutants whose number ends in one of these, as a sample: 13579 is a half.")
@click.option("--again", is_flag=True, help="Only those that survived in the copy, after tests were added.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Mutants tested at once.")
def main(group: str, copy: Path, digits: str | None, again: bool, processes: int) -> None:
    """Count the faults that the tests notice, and name those that they do not."""
    if shutil.which("mutmut") is None:
        raise click.ClickException("mutmut: expected the command mutmut, got none. Run pip install mutmut.")
    modules, tests = GROUPS[group]
    prepare(copy, modules, tests)
    names = [f"{module.replace('/', '.')}.*[{digits}]" for module in modules] if digits else []
    if again:
        names = [
            name for module in modules for name, state in results(copy, module) if state in ("survived", "no test")
        ]
    with (copy / "mutmut.log").open("w") as log:
        command = ["mutmut", "run", "--max-children", str(processes), *names]
        done = subprocess.run(command, cwd=copy, env=os.environ | ENVIRONMENT, stdout=log, stderr=log)
    if done.returncode:
        raise click.ClickException(f"{copy / 'mutmut.log'}: mutmut stopped, its last lines say why.")
    click.echo("| module | mutants | tried | killed | of these by time | survive | no test |\n" + "| --- " * 7 + "|")
    left = []
    for module in modules:
        found = [*results(copy, module)]
        counts = Counter(state for _, state in found)
        killed = counts["killed"] + counts["timeout"]
        figures = (
            len(found),
            len(found) - counts["not run"],
            killed,
            counts["timeout"],
            counts["survived"],
            counts["no test"],
        )
        click.echo(f"| {module}.py | {' | '.join(str(figure) for figure in figures)} |")
        left += [f"{state}: {name}" for name, state in found if state in ("survived", "no test")]
    click.echo("\n".join(left))


if __name__ == "__main__":
    main()
