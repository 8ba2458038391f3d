"""A headless Chromium for tests of web pages; they are skipped, with the reason, if none is found."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium(*arguments):
    """Yield a browser that is started with these additional arguments."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    given = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", *arguments]
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=given)
        except api.Error as error:
            pytest.skip(f"no Chromium to open the page in: {str(error).splitlines()[0]}")
        with browser:
            yield browser
