"""Build the wheel with the files that ``chatladder init`` gives a project. All else is in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithProject(build_py):
    """Build the package, and put the files of a project into it."""

    def run(self) -> None:
        """Build; an editable package finds the files in its clone."""
        super().run()
        if not self.editable_mode:
            pack = runpy.run_path("chatladder/io/code.py")["pack"]
            pack(Path(), Path(self.build_lib, "chatladder", "project.zip"))


setup(cmdclass={"build_py": BuildWithProject})
