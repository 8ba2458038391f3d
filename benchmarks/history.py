"""How much the answers of a tuned rung depend on the history, and on the turn that the question refers to.

Run it in the repository's root, after ``dvc repro``; no model is trained.

Example:
    python -m benchmarks.history --rung embedded_700k

The adapters of all seeds of the rung answer the test items three times:

- unchanged;
- "shuffled": each question with the whole history of a question from another conversation, by several permutations;
- "antecedent swapped": each question that is labelled and answered "needed", with the history of its contrast partner,
  the item of the same conversation with the same words and the other label. That history differs in the antecedent of
  the question, and so does the right answer; the answers that change are counted. Items labelled and answered
  "not_needed" are swapped likewise.

Macro-F1 is a mean over seeds with their standard deviation. The loss is paired, with a 95 % bootstrap interval over
whole conversations. Prompts are those of params.yaml, with answers averaged over as many orders of the options.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.results import known, publish, save_option
from chatladder.distributed import workers
from chatladder.evaluation.pairs import words_of
from chatladder.evaluation.scores import NEEDED, Bootstrap, Draws, Floats, answer_scores, bootstrap, interval
from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, example
from chatladder.io.params import read_yaml
from chatladder.io.rows import LABELLED, read_rows
from chatladder.models.loading import adapters_of, base_of
from chatladder.models.prompts import PromptSettings, render_row
from chatladder.vocabulary import ANSWERS

Row = dict[str, Any]
Codes = NDArray[np.int64]


def codes(rows: Sequence[Row]) -> Codes:
    """Return the labels of rows as codes, shape ``(n,)``."""
    return np.array([ANSWERS.index(row["label"]) for row in rows], dtype=np.int64)


def with_other_histories(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return the rows, each with the window of another conversation's row.

    Windows of one conversation overlap, so a neighbour's would often still hold the antecedent. The rows are put in
    random order, conversation by conversation, and every window moves by one random number of positions that no
    conversation is long enough to span.

    Raises:
        DataError: If one conversation holds more than half of the rows.
    """
    random = Random(seed)
    by_conversation: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_conversation.setdefault(row["conversation"], []).append(index)
    longest = max(map(len, by_conversation.values()))
    if 2 * longest > len(rows):
        raise DataError(f"histories: expected no conversation with over half of {len(rows)} items, got {longest}.")
    groups = list(by_conversation.values())
    random.shuffle(groups)
    order = [index for group in groups for index in random.sample(group, len(group))]
    places = random.randint(longest, len(rows) - longest)
    givers = dict(zip(order, order[places:] + order[:places], strict=True))
    return [{**row, "window": rows[givers[index]]["window"]} for index, row in enumerate(rows)]


def with_partners_history(rows: Sequence[Row]) -> dict[int, Row]:
    """Return the rows that have a contrast partner, by their index, each with the partner's window.

    A partner has the same words and conversation and the other label; of several the first is used.
    """
    words = [words_of(row["text"]) for row in rows]
    partners: dict[tuple[str, str, str], Row] = {}
    for row, asked in zip(rows, words, strict=True):
        partners.setdefault((row["conversation"], asked, row["label"]), row)
    other = dict(zip(ANSWERS[:2], ANSWERS[1::-1], strict=True))
    found = {}
    for place, row in enumerate(rows):
        partner = partners.get((row["conversation"], words[place], other.get(row["label"], "")))
        if partner is not None:
            found[place] = {**row, "window": partner["window"]}
    return found


def macro_f1(rows: Sequence[Row], answers: Codes, sample: Bootstrap) -> Floats:
    """Return macro-F1 of the sample and of every draw, shape ``(1 + draws,)``."""
    return answer_scores(codes(rows), answers, sample.clusters, sample.weights)["macro_f1"]


def turned(rows: Sequence[Row], swapped: Sequence[int], before: Codes, after: Codes, label: str) -> tuple[int, int]:
    """Return how many items of this label and answer were asked with the partner's history, and how many changed.

    Args:
        rows: All items.
        swapped: The indices of the items that were asked again.
        before: The answers to all items, shape ``(n,)``.
        after: The answers to the items that were asked again, shape ``(len(swapped),)``.
        label: The label.
    """
    code = ANSWERS.index(label)
    counts = [
        new != code
        for place, new in zip(swapped, after, strict=True)
        if rows[place]["label"] == label and before[place] == code
    ]
    return len(counts), int(sum(counts))


def mean_text(values: Floats) -> str:
    """Return a mean over seeds, with their standard deviation if there are several."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def table(rung: str, plain: Floats, shuffled: Floats, counts: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    """Return a Markdown table of macro-F1 with both kinds of histories, and of the answers that the partner's changes.

    Args:
        rung: The rung's key.
        plain: Macro-F1, shape ``(seeds, 1 + draws)``.
        shuffled: The same with shuffled histories, means over permutations.
        counts: Label -> for each seed the number of answers, and of those that changed.
    """
    loss = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval((plain - shuffled).mean(axis=0)))
    lines = [
        f"| {rung}, tuned, {len(plain)} seed(s) | macro-F1, mean ± SD | lost [95 %] |",
        "| --- | --- | --- |",
        f"| histories as they are | {mean_text(plain[:, 0])} | |",
        f"| histories shuffled | {mean_text(shuffled[:, 0])} | {loss} |",
        "",
        "| labelled and answered | asked with the antecedent swapped, by seed | turned | share |",
        "| --- | --- | --- | ---: |",
    ]
    for label, each in counts.items():
        asked, turns = (sum(column) for column in zip(*each, strict=True))
        by_seed = [", ".join(map(str, column)) for column in zip(*each, strict=True)]
        share = f"{100 * turns / asked:.1f} %" if asked else ""
        lines.append(f"| {label} | {by_seed[0]} | {by_seed[1]} | {share} |")
    return "\n".join(lines)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--rung", required=True, help="Key of the rung, for instance embedded_700k.")
@click.option("--params", type=InputFile, default="params.yaml", show_default=True)
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True, help="Labelled items.")
@click.option("--bases", type=InputFolder, default="data/bases", show_default=True, help="Folder of base models.")
@click.option("--adapters", type=InputFolder, default="data/adapters", show_default=True, help="Folder of adapters.")
@click.option("--permutations", type=click.IntRange(1), default=5, show_default=True, help="Of the histories.")
@click.option("--shuffle-seed", type=int, default=0, show_default=True, help="Of the first permutation; then +1 each.")
@click.option("--draws", type=click.IntRange(100), default=2000, show_default=True, help="Bootstrap draws.")
@save_option
def main(
    rung: str,
    params: Path,
    labelled: Path,
    bases: Path,
    adapters: Path,
    permutations: int,
    shuffle_seed: int,
    draws: int,
    save: Path | None,
) -> None:
    """Print what a tuned rung loses without the right history, and how often it notices a changed antecedent."""
    rows: list[Row] = read_rows(labelled, LABELLED).to_pylist()
    tested = [row for row in rows if row["split"] == "test"]
    if not tested:
        raise DataError(f"{labelled}: expected test items, got none.")
    sample = bootstrap([row["conversation"] for row in tested], Draws(0, draws))
    swapped = with_partners_history(tested)
    content = read_yaml(params)
    settings, length, orders = (
        PromptSettings(**content["prompt"]),
        content["max_length"],
        content["predict"]["orders"],
    )

    from chatladder.models.scoring import score_rung

    plain, shuffled = [], []
    counts: dict[str, list[tuple[int, int]]] = {label: [] for label in ANSWERS[:2]}
    with workers() as pool:
        for seed, adapter in adapters_of(adapters / rung).items():
            base = base_of(bases / rung, seed)

            def answers(items: Sequence[Row], base: Path = base, adapter: Path = adapter) -> Codes:
                prompts = [render_row(row, settings) for row in items]
                return score_rung(base, adapter, prompts, length, pool, orders)[0].argmax(axis=1)

            click.echo(f"{rung}, seed {seed}: {len(tested)} items, {len(swapped)} with a contrast partner", err=True)
            as_is = answers(tested)
            plain.append(macro_f1(tested, as_is, sample))
            under_others = [
                macro_f1(tested, answers(with_other_histories(tested, number)), sample)
                for number in range(shuffle_seed, shuffle_seed + permutations)
            ]
            shuffled.append(np.mean(under_others, axis=0))
            again = answers(list(swapped.values())) if swapped else np.array([], dtype=np.int64)
            for label, each in counts.items():
                each.append(turned(tested, list(swapped), as_is, again, label))
    needed = int((codes(tested) == NEEDED).sum())
    text = (
        f"{table(rung, np.stack(plain), np.stack(shuffled), counts)}\n\n{len(tested)} test items, {needed} needed; "
        f"{len(swapped)} have a contrast partner. Shuffled: means of {permutations} permutations."
    )
    loss = (np.stack(plain) - np.stack(shuffled)).mean(axis=0)
    asked, turns = (sum(column) for column in zip(*counts[ANSWERS[NEEDED]], strict=True))
    figures = {"shuffled_loss": round(float(loss[0]), 5)}
    if asked:
        figures["swapped_turned"] = round(turns / asked, 5)
    publish(save, __spec__.name, text, known(labelled, bases, adapters), figures)


if __name__ == "__main__":
    main()
