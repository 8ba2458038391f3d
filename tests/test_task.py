"""What is asked is a folder: labels, prompts and guidelines."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from itertools import product

import pytest

from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, read_rows, write_rows
from chatladder.models.prompts import (
    ANSWER_FORMS,
    LANGUAGES,
    PromptSettings,
    alpaca_row,
    fixed_texts,
    option_texts,
    orders_of,
    render_row,
    rewrite_row,
)
from chatladder.vocabulary import ANSWERS, KINDS, LABELS, SCORED, prediction_schema, read_task
from tests.conftest import ROOT

ROW = {
    "item_id": "9f2c",
    "sender": "u0a1b2c3d",
    "text": "@u11111111 它支持\nWindows 吗？",
    "label": "needed",
    "rewrite": "2.1 版支持 Windows 吗？",
    "window": [
        {"sender": "u11111111", "text": "u0a1b2c3d: 我装了 2.1 版", "timestamp": 1},
        {"sender": "u22222222", "text": "{options} ok", "timestamp": 2},
    ],
}
#: Of all that models and annotators are shown, as it was before tasks were folders: the committed models read these.
SHOWN = "586fff2d6dd3036932dc9c464e4d61e78e38e97385ab198aee51dfafa7646816"


def test_every_byte_that_the_models_of_the_demo_read_is_as_it_was():
    rows = []
    for wording, language, answer, seed in product(("definition", "question"), LANGUAGES, ANSWER_FORMS, range(7)):
        settings = PromptSettings(language, answer, seed, wording)
        rows.append(alpaca_row(ROW, settings))
        rows.append([list(prompt) for prompt in orders_of(render_row(ROW, settings), 6)])
    rows += [rewrite_row(ROW, language) for language in LANGUAGES]
    rows += [fixed_texts(), option_texts()]
    rows.append(
        [[kind.name, kind.words, kind.screen, kind.key, kind.colour, str(kind.is_answer)] for kind in KINDS.values()]
    )
    rows += [LABELS, ANSWERS, SCORED]
    assert hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest() == SHOWN


TASK = """\
items = "messages"
ask = {en = "Is somebody thanked?"}
positive = "thanks"
negative = "other"
written_out = false

[labels.thanks]
words = "thanks"
screen = "thanks"
key = "j"
colour = "#2f6fb5"

[labels.other]
words = "no thanks"
screen = "other"
key = "k"
colour = "#2d7d46"
"""
PROMPT = """\
thanks = "yes"
other = "no"
unknown = "hard to tell"
text = "{history}\\nIs somebody thanked?\\n{question}\\n{options}\\nAnswer:"
"""


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "tasks" / "thanks"
    (folder / "prompts").mkdir(parents=True)
    (folder / "task.toml").write_text(TASK)
    (folder / "guidelines.md").write_text("# Thanks\n")
    (folder / "prompts" / "question.en.toml").write_text(PROMPT)
    (tmp_path / "params.yaml").write_text("task: thanks\n")
    return tmp_path


def run(project, *command, **environment):
    """A process of its own in a project: it reads its task once."""
    paths = os.environ | {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *command], cwd=project, env=paths, capture_output=True, text=True)


SHOW = """\
from chatladder.cli.annotate.options import parse_keys
from chatladder.cli.annotate.round_records import GUIDELINES
from chatladder.cli.label_studio.exchange import config_of
from chatladder.labels.answer import Label
from chatladder.models.prompts import PromptSettings, render
config = config_of("a", "b")
prompt = render([("u1", "I did it")], "u2", "thx!", "i", PromptSettings("en", "text", 0, "question"))
print([*Label], parse_keys("")["thanks"], GUIDELINES.read_text().strip(), "rewrite" in config, prompt.instruction)
"""


def test_a_task_of_a_project_is_what_annotators_and_models_see(project):
    shown = run(project, "-c", SHOW)
    assert not shown.stderr
    assert "[<Label.THANKS: 'thanks'>, <Label.OTHER: 'other'>] ('j',) # Thanks False user 1: I did it" in shown.stdout
    assert "Is somebody thanked?\nuser 2: thx!\n" in shown.stdout
    assert sorted(shown.stdout.splitlines()[-2].split("/")) == ["hard to tell", "no", "yes"]


def test_a_task_of_a_project_is_labelled_trained_on_and_scored(project):
    rows = [
        {"item_id": f"i{n}", "turn_id": f"t{n}", "group": "g", "conversation": f"c{n // 4}", "sender": "u1"}
        | {"text": f"{'thank you' if n % 2 else 'it fails'} {n}", "timestamp": 1000 * n, "window": []}
        for n in range(200)
    ]
    (project / "data").mkdir()
    write_rows(project / "data" / "questions.parquet", rows, QUESTIONS)
    log = project / "data" / "annotations" / "round_1" / "li.jsonl"
    log.parent.mkdir(parents=True)
    answers = [("thanks" if n % 2 else "other", n) for n in range(200)]
    log.write_text(
        "".join(
            f'{{"item_id": "i{n}", "annotator": "li", "round": 1, "label": "{label}", "at": "2024-01-01T00:00:00Z"}}\n'
            for label, n in answers
        )
    )
    label = "--questions data/questions.parquet --annotations data/annotations --out data/labelled.parquet --round 1"
    label += " --orphans refuse --test 0.25 --validation 0.1 --metrics m.json --label-sets data/sets.parquet"
    done = run(project, "-m", "stages.label", *label.split(), "--rewrites", "data/rewrites.parquet")
    assert done.returncode == 0, done.stderr
    counts = json.loads((project / "m.json").read_text())
    assert (counts["thanks"], counts["other"]) == (100, 100)
    alpaca = (
        "--labelled data/labelled.parquet --rewrites data/rewrites.parquet --out data/alpaca --rewriting data/written"
    )
    done = run(
        project, "-m", "stages.to_alpaca", *alpaca.split(), "--language", "en", "--answer", "text", "--seed", "0"
    )
    assert done.returncode == 0, done.stderr
    assert {row["output"] for row in json.loads((project / "data/alpaca/train.json").read_text())} == {"yes", "no"}
    words = "--labelled data/labelled.parquet --out data/words --baselines data/cheap --folds 3 --repeats 1 --seed 0"
    done = run(project, "-m", "stages.word_baselines", *words.split())
    assert done.returncode == 0, done.stderr
    answered = read_rows(project / "data" / "cheap" / "line.parquet", prediction_schema()).to_pylist()
    assert {row["answer"] for row in answered} == {"thanks", "other"}


def test_the_environment_goes_before_params(project):
    show = ("-c", "from chatladder.vocabulary import TASK; print(TASK.name)")
    assert run(project, *show).stdout == "thanks\n"
    assert run(project, *show, CHATLADDER_TASK="needs_history").stdout == "needs_history\n"
    assert run(project.parent, *show, CHATLADDER_TASK=str(project / "tasks" / "thanks")).stdout == "thanks\n"


def test_embedded_models_know_the_task_of_the_demo_alone(project):
    base = "--source embedded --out data/base --language en --answer text --hidden-size 8 --num-hidden-layers 1 "
    base += "--num-attention-heads 1 --intermediate-size 8 --dialogues 8 --learning-rate 1e-3 --seeds 0 "
    base += "--muon-learning-rate 1e-2 --per-device-train-batch-size 4 --warmup-steps 1"
    done = run(project, "-m", "stages.base", *base.split())
    assert done.returncode == 1
    assert "embedded models know the task needs_history alone, got thanks" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "items =",
            "item =",
            "item: expected one of the fields items, ask, positive, negative, scored, written_out, silver, labels",
        ),
        ('"messages"', '"turns"', "items: expected questions or messages, got 'turns'"),
        ('ask = {en = "Is somebody thanked?"}', "ask = 3", "ask: expected a table, got 3"),
        ('positive = "thanks"\n', "", "positive: expected one of thanks, other, got nothing"),
        ('negative = "other"', 'negative = "thanks"', "negative: expected another label than positive, got 'thanks'"),
        ("= false", '= "no"', "written_out: expected true or false, got 'no'"),
        ('key = "k"', 'key = "j"', "labels.other.key: expected another key than that of thanks, got 'j'"),
        ('key = "k"', 'key = "kk"', "labels.other.key: expected one character, got 'kk'"),
        ('"#2d7d46"', '"green"', "labels.other.colour: expected a colour such as #2f6fb5, got 'green'"),
        ('words = "no thanks"\n', "", "labels.other.words: expected a text, got nothing"),
        ("[labels.other]", "[labels.Other]", "labels.Other: expected a name of small letters, digits and _"),
        ("[labels.other]", "[labels.other", "expected TOML in UTF-8"),
    ],
)
def test_a_malformed_task_says_where_and_what(project, old, new, said):
    path = project / "tasks" / "thanks" / "task.toml"
    path.write_text(TASK.replace(old, new, 1))
    with pytest.raises(DataError) as error:
        read_task(path.parent)
    assert error.value.message.startswith(f"{path}: ")
    assert said in error.value.message


@pytest.mark.parametrize(
    ("scored", "said"),
    [
        (["now"], "scored: expected a list of 2 to 5 labels of now, later, never, unsure, each once, got ['now']."),
        (["now", "now"], "each once, got ['now', 'now']."),
        (["now", "soon"], "each once, got ['now', 'soon']."),
        ("now", "each once, got 'now'."),
    ],
)
def test_labels_that_are_scored_are_a_list_of_some(tmp_path, scored, said):
    path = urgency(tmp_path, '["now", "later", "never"]', json.dumps(scored))
    with pytest.raises(DataError) as error:
        read_task(path)
    assert said in error.value.message


def urgency(folder, old, new):
    """The task of three labels, with something else in its task.toml."""
    path = shutil.copytree(ROOT / "tests" / "tasks" / "urgency", folder / "urgency")
    text = (path / "task.toml").read_text()
    assert old in text
    (path / "task.toml").write_text(text.replace(old, new, 1))
    return path


def test_two_labels_that_are_scored_may_stand_in_a_list(tmp_path):
    task = read_task(urgency(tmp_path, '["now", "later", "never"]', '["later", "now"]'))
    assert task.scored == ("later", "now")
    assert not task.kinds["never"].is_answer


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("= false", "= true", "written_out: expected false where more than two labels are scored, got True."),
        (
            "written_out",
            'silver = "replies"\nwritten_out',
            "silver: expected nothing where more than two labels are scored",
        ),
        ("written_out", 'positive = "now"\nwritten_out', "positive: expected nothing beside scored, got 'now'."),
    ],
)
def test_what_wants_two_labels_is_refused_beside_more(tmp_path, old, new, said):
    with pytest.raises(DataError) as error:
        read_task(urgency(tmp_path, old, new))
    assert said in error.value.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{history}", "", "text: expected {history} {question} {options}, each once and in this order, got"),
        (
            'other = "no"\n',
            "",
            "other: expected a text without / that does not begin as another answer does, got nothing",
        ),
        ('other = "no"', 'other = "yes, but"', "other: expected a text without / that does not begin as another"),
        ('other = "no"', 'others = "no"', "others: expected one of the fields text, mention, thanks, other, unknown"),
    ],
)
def test_a_malformed_prompt_says_where_and_what(project, old, new, said):
    (project / "tasks" / "thanks" / "prompts" / "question.en.toml").write_text(PROMPT.replace(old, new, 1))
    error = run(project, "-c", "from chatladder.models.prompts import wording_of; wording_of('question', 'en')").stderr
    assert f"question.en.toml: {said}" in error


def test_a_task_without_prompts_is_refused(project):
    (project / "tasks" / "thanks" / "prompts" / "question.en.toml").rename(project / "rewrite.en.toml")
    with pytest.raises(DataError, match=r"prompts: expected question\.en\.toml"):
        read_task(project / "tasks" / "thanks")


def test_a_task_that_is_not_there_is_said_in_one_line(project):
    (project / "params.yaml").write_text("task: mine\n")
    done = run(project, "-m", "stages.label", "--help")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: params.yaml: task: expected bot_reply, needs_history, ")
    assert "or a folder of tasks/, got 'mine'." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    (project / "tasks" / "needs_history").mkdir()
    (project / "params.yaml").write_text("task: needs_history\n")
    assert "a task of chatladder has this one" in run(project, "-m", "stages.label", "--help").stderr
