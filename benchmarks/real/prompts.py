"""Which prompt does a small pretrained model understand? Tried only on training questions, never on the test.

Example:
    python -m benchmarks.real.prompts --chat ubuntu-cn --base bases/qwen_0_5b
    python -m benchmarks.real.prompts --chat ubuntu-cn --base bases/qwen_1_5b --trial question:0:4:1

A trial is a wording, a number of worked examples before the question, turns of history, and orders of the options over
which an answer is averaged. Each is scored by AUROC, which no threshold affects, on equally many questions of both
labels, on which both readers agree. ``results/prompts.csv`` stores the results: a trial in it is not run again.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.real.chats import CHATS, RESULTS, ROOT
from benchmarks.real.readings import READERS, read_labels, read_questions
from chatladder.evaluation.scores import auroc_of
from chatladder.io.console import SETTINGS, InputFolder, example
from chatladder.io.files import write_csv
from chatladder.io.params import read_yaml
from chatladder.io.rows import LABELLED, read_rows
from chatladder.models.loading import load, read_rung
from chatladder.models.prompts import SEPARATOR, Prompt, PromptSettings, Wording, render, wording_of
from chatladder.models.scoring import over_orders, score
from chatladder.vocabulary import ANSWERS, POSITIVE

COLUMNS = ("chat", "model", "wording", "examples", "window", "orders", "questions", "auroc", "se", "needed", "mass")
#: The most tokens of a prompt with its examples.
MAX_LENGTH = 2000
_ZH = "群聊记录：\n{history}\n\n新的问题：\n{question}\n\n"
_EN = "Messages of a group chat:\n{history}\n\nA new question:\n{question}\n\n"
#: Wordings besides the product's own: language -> name -> the question, and the texts of needed and not needed.
OTHERS = {
    "zh": {
        "omission": ("这个问题里有没有用代词（这个、那个、它）或省略，指上面记录里说到的东西？", "有", "没有"),
        "topic": ("新的问题是接着上面记录里的话题说的，还是另起一个话题？", "接着", "另起"),
        "search": ("要把新的问题单独拿去搜索，需要先根据记录改写，还是可以直接用？", "改写", "直接"),
    },
    "en": {
        "omission": (
            "Does it use a pronoun (this, that, it), or leave something out, that the messages say?",
            "yes",
            "no",
        ),
        "topic": ("Does the new question continue the talk above, or start another topic?", "continue", "start"),
        "search": (
            "To search for the new question by itself, must it be rewritten from the messages, or can it be used "
            "directly?",
            "rewritten",
            "directly",
        ),
    },
}
#: Worked examples from no chat: window, sender, question, label.
EXAMPLES: dict[str, list[tuple[list[tuple[str, str]], str, str, str]]] = {
    "zh": [
        ([("a", "昨天把系统升级了"), ("b", "升级到哪个版本？")], "a", "12.10，感觉怎么样？有人用过吗？", "needed"),
        ([("a", "刚买了个新显示器"), ("b", "多大的")], "c", "python 怎么读取 excel 文件？", "not_needed"),
        ([("a", "我用 nginx 做反向代理"), ("b", "配置贴出来看看")], "b", "这个端口为什么是 8080？", "needed"),
        ([("a", "今天好冷"), ("b", "是啊")], "c", "有人知道 vim 怎么显示行号吗？", "not_needed"),
    ],
    "en": [
        ([("a", "I upgraded yesterday"), ("b", "to which version?")], "a", "12.10, has anybody used it?", "needed"),
        ([("a", "got a new screen"), ("b", "how large?")], "c", "how do I read an excel file in python?", "not_needed"),
        ([("a", "nginx is my proxy"), ("b", "paste the config")], "b", "why is that port 8080?", "needed"),
        ([("a", "cold today"), ("b", "it is")], "c", "does anybody know how vim shows line numbers?", "not_needed"),
    ],
}
#: First the wordings, then for the best of them examples, windows and orders.
TRIALS = (
    *(f"{name}:0:4:1" for name in ("definition", "question", "omission", "topic", "search")),
    "question:4:4:1", "question:0:8:1", "question:0:12:1", "question:0:4:2", "question:0:4:6",
)  # fmt: skip


class Trial(NamedTuple):
    """A way to ask, written ``wording:examples:window:orders``."""

    wording: str
    examples: int
    window: int
    orders: int

    @classmethod
    def read(cls, text: str) -> "Trial":
        """Parse a trial."""
        name, *numbers = text.split(":")
        return cls(name, *map(int, numbers))


def wording(name: str, language: str) -> Wording:
    """Return one of the product's wordings, or of ``OTHERS``."""
    if name not in OTHERS[language]:
        return wording_of(name, language)
    asked, needed, not_needed = OTHERS[language][name]
    unknown = wording_of("question", language).options["unknown"]
    start, options, answer = (_ZH, "选项：", "答案：") if language == "zh" else (_EN, "Options: ", "Answer:")
    text = f"{start}{asked}\n{options}{{options}}\n{answer}"
    return Wording(text, dict(zip(ANSWERS, (needed, not_needed, unknown), strict=True)), "")


def ask(asked: Wording, window: Sequence[tuple[str, str]], sender: str, text: str, order: Sequence[str]) -> str:
    """Fill in a wording; people and mentions are named as in the wording ``question``."""
    language = "zh" if "选项" in asked.text else "en"
    known = wording_of("question", language)
    filled = render(window, sender, text, "", PromptSettings(language, "text", 0, "question")).instruction
    pieces = known.text.replace("{question}", "{history}").replace("{options}", "{history}").split("{history}")
    body = filled.removeprefix(pieces[0])
    history, rest = body.rsplit(pieces[1], 1)
    question = rest.rsplit(pieces[2], 1)[0]
    listed = SEPARATOR.join(asked.options[name] for name in order)
    values = {"history": history, "question": question, "options": listed}
    before, *after = asked.text.split("{")
    return before + "".join(values[name] + tail for name, tail in (piece.split("}", 1) for piece in after))


def prompts_of(rows: Sequence[dict[str, Any]], trial: Trial, language: str) -> list[Prompt]:
    """Return the prompts of a trial: all orders of the first question, then of the next."""
    asked = wording(trial.wording, language)
    shown = ""
    for number, (window, sender, text, label) in enumerate(EXAMPLES[language][: trial.examples]):
        order = Random(number).sample(ANSWERS, len(ANSWERS))
        shown += ask(asked, window, sender, text, order) + asked.options[label] + "\n\n"
    prompts = []
    for row in rows:
        window = [(turn["sender"], turn["text"]) for turn in row["window"]]
        window = window[max(0, len(window) - trial.window) :]
        drawn = Random(f"0:{row['item_id']}")
        for _ in range(trial.orders):
            order = drawn.sample(ANSWERS, len(ANSWERS))
            prompts.append(Prompt(shown + ask(asked, window, row["sender"], row["text"], order), asked.options))
    return prompts


def training_rows(chat: str, each: int) -> tuple[list[dict[str, Any]], "np.ndarray[Any, Any]"]:
    """Return ``each`` training questions of either label with twelve turns before them, and 0 for those needed."""
    folder = ROOT / chat
    split = {
        row["item_id"]: row["split"] for row in read_rows(folder / "data" / "labelled.parquet", LABELLED).to_pylist()
    }
    first, second = (read_labels(folder / "annotated" / f"{reader}.jsonl") for reader in READERS)
    rows = [
        row
        for row in read_questions(folder / "annotated" / "questions.jsonl", 12, chat).to_pylist()
        if split.get(row["item_id"]) == "train" and first[row["item_id"]] == second[row["item_id"]]
    ]
    Random(0).shuffle(rows)
    kinds = [[row for row in rows if (first[row["item_id"]] == POSITIVE) is needed][:each] for needed in (True, False)]
    return [*kinds[0], *kinds[1]], np.repeat([0, 1], [len(kind) for kind in kinds])


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--chat", type=click.Choice(CHATS), required=True, help="The chat whose training questions are asked.")
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--trial", "trials", multiple=True, default=TRIALS, help="wording:examples:window:orders; repeat it.")
@click.option("--each", type=click.IntRange(10), default=100, show_default=True, help="Questions of either label.")
def main(chat: str, base: Path, trials: Sequence[str], each: int) -> None:
    """Try prompts on training questions, and keep how well each ranks them."""
    rows, labels = training_rows(chat, each)
    language = str(read_yaml(ROOT / chat / "params.yaml")["prompt"]["language"])
    path, name = RESULTS / "prompts.csv", str(read_rung(base)["name"])
    kept = [tuple(line.split(",")) for line in path.read_text().splitlines()[1:]] if path.is_file() else []
    done = {row[:6] for row in kept}
    model, tokenizer = load(base)
    for text in trials:
        trial = Trial.read(text)
        key = (chat, name, *map(str, trial))
        if key in done:
            continue
        started = time.monotonic()
        scores = over_orders(score(model, tokenizer, prompts_of(rows, trial, language), MAX_LENGTH)[0], trial.orders)
        evidence = scores[:, 0] - scores[:, 1]
        auroc, influence = auroc_of(labels, evidence)
        spread = float(np.sqrt((influence**2).sum()))
        mass = float(np.exp(scores).sum(1).mean())
        figures = (f"{auroc:.3f}", f"{spread:.3f}", f"{(evidence > 0).mean():.2f}", f"{mass:.2f}")
        kept.append((*key, str(len(rows)), *figures))
        write_csv(path, COLUMNS, kept)
        click.echo(f"{text}: AUROC {auroc:.3f}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
