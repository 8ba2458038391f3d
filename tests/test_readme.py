"""What the README and the page of benchmarks show is what the repository holds."""

import re
from collections import Counter

import pytest
import yaml

from benchmarks.results import changed, read_all
from benchmarks.write import BENCHMARKS, BLOCK, CHINESE, FIGURE, pages, written
from benchmarks.write import README as ENGLISH
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
#: What no benchmark measures and may stand in prose.
ALLOWED = (
    rf"within {PARAMS['merge']['gap_seconds']} s",  # a default
    r"arXiv \d+\.\d+",
    r"95 %",  # intervals
    r"Ubuntu \d+\.\d+",  # a quotation
    r"(?:Python |Apache-|release |version\s+|版本 )\d+(?:\.\d+)+",
)
#: What a figure looks like: decimals, thousands, shares, counts of a whole, points, and how long something took.
HAND_WRITTEN = re.compile(
    r"(?<![\w.])(?:\d*\.\d+|\d{1,3}(?:,\d{3})+|\d+ ?%|\d+(?= of (?:the )?\d)|\d+(?= points\b)"
    r"|\d+(?= (?:to \d+ )?(?:s|min|minutes|seconds)\b))(?!\w|\.\d)"
)


def prose(text):
    """A page without what is written by a command, code, tags, and targets of links; its lines stay where they are."""

    def blank(found):
        return "\n" * found[0].count("\n")

    for pattern in (
        BLOCK,
        FIGURE,
        re.compile(r"<!--.*?-->", re.S),
        re.compile(r"^```.*?^```$", re.S | re.M),
        re.compile(r"^    .*$", re.M),
        re.compile(r"`[^`\n]*`"),
        re.compile(r"(?<=\])\([^)]*\)"),
        re.compile("|".join(ALLOWED)),
    ):
        text = pattern.sub(blank, text)
    return text


@pytest.mark.parametrize("page", pages())
def test_no_number_of_a_page_is_old(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert written(page, text, read_all()) == text, "run python -m benchmarks.write"


def test_results_of_the_demo_are_of_this_demo():
    results = read_all().items()
    stale = {name: (changed(result), result.commands) for name, result in results if changed(result)}
    said = [f"{name}: {', '.join(outs)} changed; run {' && '.join(run)}" for name, (outs, run) in stale.items()]
    assert not stale, "\n".join(said)


def test_every_result_is_on_a_page():
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in pages()]
    blocks = {found["name"] for text in texts for found in BLOCK.finditer(text)}
    figures = {found["key"].partition(".")[0] for text in texts for found in FIGURE.finditer(text)}
    assert set(read_all()) <= blocks | figures


@pytest.mark.parametrize("page", [ENGLISH, CHINESE, BENCHMARKS])
def test_no_figure_in_prose_is_written_by_hand(page):
    lines = prose((ROOT / page).read_text(encoding="utf-8")).splitlines()
    found = [
        f"{page}:{at}: {hit[0]}: {line}" for at, line in enumerate(lines, 1) for hit in HAND_WRITTEN.finditer(line)
    ]
    assert not found, "\n".join(["put them between <!-- n: ... --> and <!-- /n --> (benchmarks/write.py):", *found])


def test_the_check_of_prose_sees_figures_and_lets_others_pass():
    figures = "above .806 of 1,018, 84 % and 6 of 54; 9 points, +0.03 in 12 minutes"
    assert HAND_WRITTEN.findall(prose(figures)) == [".806", "1,018", "84 %", "6", "9", "0.03", "12"]
    others = "Python 3.11, release 1.23.2, 95 %, `train 0.5`, [it](a-1.5), <!-- n: models.a | .3f -->0.785<!-- /n -->"
    assert HAND_WRITTEN.findall(prose(others)) == []


@pytest.mark.parametrize("page", pages())
def test_no_marker_begins_a_line(page):
    # To a renderer such a line is HTML, and ends the paragraph.
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.lstrip().startswith("<!-- n:")] == []


def test_ci_runs_the_test_command_of_the_readme():
    command = README.split("<!-- test command -->\n```bash\n")[1].split("\n```")[0]
    assert command.count("\n") == 0
    assert command.endswith("&& pytest -n 2")
    assert "test command" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_link_into_the_repository_leads_somewhere():
    for name in (ENGLISH, CHINESE, "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{name}: {target}"


def parts(text):
    """What a page has in any language: headings, rows of tables, commands, what is written into it, and links."""
    bare = BLOCK.sub("", text)
    code = re.compile(r"^```.*?^```$", flags=re.M | re.S)
    lines = code.sub("", bare).splitlines()
    return Counter(
        [f"a heading {found[0]}" for line in lines if (found := re.match("#+", line))]
        + [f"a row of {line.count('|') - 1} cells" for line in lines if line.startswith("|")]
        + [re.sub(r"\s+# .*", "", line) for found in code.finditer(bare) for line in found[0].splitlines()]
        + [f"the table {found['name']}" for found in BLOCK.finditer(text)]
        + [f"the number {found['key']}, {found['form']}" for found in FIGURE.finditer(text)]
        + [f"a link to {target}" for target in re.findall(r"\]\(([^)]+)\)", bare) if target not in (ENGLISH, CHINESE)]
        + re.findall(r"<!-- (?!n:)[^>]* -->", bare)
    )


def test_both_readmes_say_the_same():
    english, chinese = (parts((ROOT / page).read_text(encoding="utf-8")) for page in (ENGLISH, CHINESE))
    lacks = {CHINESE: [*(english - chinese)], ENGLISH: [*(chinese - english)]}
    assert not any(lacks.values()), "\n".join(f"{page} lacks {part}" for page in lacks for part in lacks[page])


def test_each_readme_leads_to_the_other():
    for page, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other})\n" in (ROOT / page).read_text(encoding="utf-8").partition("\n\n")[2][:40]


def test_what_one_readme_lacks_is_found():
    whole = "# a\n\n```bash\nrun  # why\n```\n<!-- n: a.b | .1f -->1<!-- /n --> [b](c.md)\n| a | b |\n"
    assert parts(whole) == parts(whole.replace("why", "为什么").replace("| a |", "| 甲 |").replace("[b]", "[乙]"))
    for part in ("run", "a.b", "c.md", "| b ", "# a"):
        assert parts(whole) != parts(whole.replace(part, ""))
