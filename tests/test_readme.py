"""What the README shows is what the repository holds."""

import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, flags=re.S)[1].strip()


def test_the_result_is_the_committed_summary():
    summary = (ROOT / "metrics" / "summary.md").read_text(encoding="utf-8")
    assert block("result") == summary.removeprefix("# Summary").strip()


def test_ci_runs_the_test_command_of_the_readme():
    command = README.split("<!-- test command -->\n```bash\n")[1].split("\n```")[0]
    assert command.count("\n") == 0
    assert command.endswith("&& pytest -n 2")
    assert "test command" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_link_into_the_repository_leads_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{name}: {target}"
