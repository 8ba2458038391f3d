"""The imports between our modules, read from their source."""

import ast
from functools import cache

from tests.conftest import ROOT

PACKAGES = ("chatladder", "stages")


@cache
def modules():
    """Return the path of every module of the package and every stage, by module name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


@cache
def imported(module, *, at_import=False):
    """Return our modules that a module imports; with ``at_import``, only those it imports when it is imported."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    names = set()
    for node in _running(tree) if at_import else ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= below & {*modules()} or {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return sorted((names & {*modules()}) - {module})


def _running(tree):
    """Yield the statements that run at import: none in functions, none for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _running(node)


def all_imported(module):
    """Return all modules that a module imports, directly or indirectly."""
    seen, waiting = set(), [module]
    while waiting:
        for name in imported(waiting.pop()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def folder(module):
    """Return the folder of the package that a module is in, or the module itself if it lies next to the folders."""
    package, *rest = module.split(".")
    return rest[0] if package == "chatladder" and rest else package
