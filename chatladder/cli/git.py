"""Calls of git's own program, without the environment by which a surrounding hook would redirect it."""

import os
import subprocess
from pathlib import Path

from chatladder.io.console import DataError


def git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command.

    Raises:
        DataError: If git is not installed, or fails.
    """
    # Inside a git hook these would point to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=60, env=environment)
    except FileNotFoundError as error:
        raise DataError("git is not installed: a project needs it. Install it and run again.") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise DataError(f"git {arguments[0]}: cannot be run: {type(error).__name__}.") from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        raise DataError(f"{folder}: git {arguments[0]} failed: {reason or 'no reason given'}.")
    return done.stdout.decode("utf-8", "surrogateescape")
