r"""How accurate the check of the labels by model size is, on ladders whose truth is known.

Run it in the repository's root, after ``dvc repro``. ``tables`` needs no model and less than ten minutes.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.same_size answers --seeds 12
    python -m benchmarks.same_size tables --ladders 10000 --seed 0

``answers`` trains the embedded shapes of params.yaml with so many seeds each, lets every model answer the questions,
and writes all answers to one small file. Results in ``--work`` are reused.

``tables`` judges ladders that are drawn from these models, as ``stages.check_scaling`` does:

- same size: all models of a ladder are of one size and only placed at the sizes of another ladder, so in truth nothing
  grows; "fitted" draws their scores from a normal distribution with the spread of that size's seeds, and adds the
  slope's error over conversations; "drawn" draws models without replacement;
- committed sizes: models of the sizes that they are placed at, with a share of the labels flipped at random;
- seven sizes of one model each, as ladders of downloaded models have: scores are drawn from mean and spread
  interpolated between the committed sizes.

Each draw takes conversations of the labelled items with replacement, flips labels, and then draws a few ladders, which
share the items. A share has a 95 % interval over those draws.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.results import fingerprint, known, publish, save_option
from chatladder.cli.simulate import read_truth, true_items
from chatladder.demo.embedded import EmbeddedShape, Pretraining, build
from chatladder.distributed import workers
from chatladder.evaluation.gate import GateSettings, slope_interval, slope_weights
from chatladder.evaluation.predictions import read_items
from chatladder.evaluation.scores import NEEDED, TAIL, Floats
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example
from chatladder.io.files import read_json, whole_file, whole_folder, write_json
from chatladder.io.params import read_section, read_settings, read_yaml
from chatladder.io.rows import LABELLED, PREDICTIONS, QUESTIONS, read_rows, write_rows
from chatladder.models.loading import RUNG, read_rung
from chatladder.models.prompts import PromptSettings, render_row
from chatladder.models.scoring import prediction_rows, score_rung
from chatladder.vocabulary import ANSWERS
from stages.base import BASE_FILES

Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: The output of ``answers`` that the other commands read.
ANSWERS_FILE = Path("benchmarks/same_size.parquet")
#: Probabilities are clipped from below at this, as in the check of a ladder.
SMALLEST = 1e-9
NOISE = (0.0, 0.1, 0.2, 0.3)
#: Margins that are tried: the growth of AUROC per doubling that the interval's lower end must exceed.
MARGINS = (0.0, 0.002, 0.005, 0.01, 0.015, 0.02)
#: Draws of conversations and of flipped labels; the ladders of one draw share its items.
ITEM_DRAWS = 2000
#: Draws of the seeds of a size, for intervals of results that depend on their spread.
SEED_DRAWS = 200
#: The number of right labels that are made wrong, those that models contradict: about two in a hundred.
SUSPECTS = 34
#: Outputs of the graph that ``answers`` depends on, besides the questions that it reads.
RESTS_ON = "data/bases"


def train(params: Path, rung: str, seed: int, folder: Path) -> None:
    """Train one shape of params.yaml with its own seed for weights, dialogues and their order."""
    base = {name: value for name, value in read_section(params, f"ladder.{rung}.base").items() if name != "source"}
    content = read_yaml(params)
    asked = {name: content["prompt"][name] for name in ("language", "answer")}
    settings = Pretraining(**asked, **{**content["pretraining"], "seeds": (seed,)})
    with whole_folder(folder, *BASE_FILES) as temporary:
        described = build(EmbeddedShape(**base), settings, seed, temporary)
        write_json(temporary / RUNG, {"source": "embedded", "name": folder.name, **described})


def answer(params: Path, base: Path, questions: Path, out: Path) -> None:
    """Let one untouched model answer all questions, as ``stages.predict`` does."""
    items = read_rows(questions, QUESTIONS).to_pylist()
    content = read_yaml(params)
    prompts = [render_row(item, PromptSettings(**content["prompt"])) for item in items]
    with workers() as pool:
        scores, _, _ = score_rung(base, None, prompts, content["max_length"], pool, content["predict"]["orders"])
    write_rows(out, prediction_rows(items, scores), PREDICTIONS)


def gather(answers: Mapping[tuple[str, int], Path], bases: Path, hashes: Mapping[str, str], out: Path) -> None:
    """Write all models' log-odds and answers as one table, a column each, with sizes and hashes in its metadata."""
    columns: dict[str, pa.Array] = {}
    sizes = {}
    for (rung, seed), path in answers.items():
        table = read_rows(path, PREDICTIONS)
        columns.setdefault("item_id", table["item_id"])
        needed, other = (np.maximum(table[f"p_{name}"].to_numpy(), SMALLEST) for name in ANSWERS[:2])
        name = f"{rung}_{seed}"
        columns[name] = pa.array(np.log(needed / other), pa.float32())
        codes = np.array([ANSWERS.index(each) for each in table["answer"].to_pylist()])
        columns[f"{name}_answer"] = pa.array(codes, pa.int8())
        sizes[name] = read_rung(bases / name)["params"]
    described = {"params": json.dumps(sizes), "measured_on": json.dumps(hashes)}
    table = pa.table(columns).replace_schema_metadata(described)
    with whole_file(out) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19)


class Models(NamedTuple):
    """Models' answers to the labelled items, ordered by the items' conversations.

    Attributes:
        sizes: Keys of the rungs, ascending.
        params: Parameters of each size, shape ``(sizes,)``.
        seeds: The number of models of each size; a model's index is ``size * seeds + seed``.
        evidence: Log-odds of "needed", shape ``(models, n)``.
        answers: Codes of answers, shape ``(models, n)``.
        item_ids: The items, those with a label that was not requested by a model.
        needed: True for each item labelled so, shape ``(n,)``.
        clusters: The index of each item's conversation, ascending, shape ``(n,)``.
    """

    sizes: list[str]
    params: list[int]
    seeds: int
    evidence: Floats
    answers: Codes
    item_ids: list[str]
    needed: Bools
    clusters: Codes

    @property
    def doublings(self) -> Floats:
        """The log2 of the parameters of each size."""
        return np.log2(np.array(self.params, dtype=np.float64))

    def by_size(self, values: Floats) -> Floats:
        """Return values of shape ``(..., models)`` in shape ``(..., sizes, seeds)``."""
        return values.reshape(*values.shape[:-1], len(self.sizes), self.seeds)


def read_models(answers: Path, labelled: Path) -> Models:
    """Read the output of ``answers``, and align it with the labelled items.

    Raises:
        DataError: If an item has no answers.
    """
    table = pq.read_table(answers)
    params: dict[str, int] = json.loads(table.schema.metadata[b"params"])
    items = read_items(labelled, None, "check_label")
    _, clusters = np.unique(items.conversations, return_inverse=True)
    order = np.argsort(clusters, kind="stable")
    place = {item_id: row for row, item_id in enumerate(table["item_id"].to_pylist())}
    missing = [item_id for item_id in items.ids if item_id not in place]
    if missing:
        raise DataError(f"{answers}: expected all labelled items, {len(missing)} are missing. Run answers again.")
    rows = np.array([place[items.ids[at]] for at in order])
    sizes = sorted({name.rpartition("_")[0] for name in params}, key=lambda size: params[f"{size}_0"])
    seeds = len(params) // len(sizes)
    names = [f"{size}_{seed}" for size in sizes for seed in range(seeds)]
    return Models(
        sizes,
        [params[f"{size}_0"] for size in sizes],
        seeds,
        np.stack([table[name].to_numpy()[rows].astype(np.float64) for name in names]),
        np.stack([table[f"{name}_answer"].to_numpy()[rows].astype(np.int64) for name in names]),
        [items.ids[at] for at in order],
        items.references[order] == NEEDED,
        clusters[order],
    )


def influences(order: Codes, needed: Bools, counts: Floats) -> tuple[Floats, Floats]:
    """Return the AUROC of models on items with counts, and each item's influence on it.

    Args:
        order: Items by rising evidence, shape ``(models, n)``; there are no ties.
        needed: Labels, shape ``(n,)``.
        counts: How often each item counts, shape ``(n,)``.

    Returns:
        Shapes ``(models,)`` and ``(models, n)``; see ``chatladder.evaluation.scores.auroc_of``.
    """
    above, below = (np.cumsum((counts * labels)[order], axis=1) for labels in (needed, ~needed))
    total_needed, total_other = above[0, -1], below[0, -1]
    sorted_places = np.where(needed[order], below / total_other, 1 - above / total_needed)
    places = np.empty_like(sorted_places)
    np.put_along_axis(places, order, sorted_places, axis=1)
    area = places @ (counts * needed) / total_needed
    return area, (places - area[:, None]) / np.where(needed, total_needed, total_other)


def areas(order: Codes, needed: Bools, clusters: Codes, weights: Floats) -> tuple[Floats, Floats]:
    """Return the AUROC of models on weighted conversations, and its covariance over them.

    Args:
        order: As for ``influences``.
        needed: Labels, shape ``(n,)``.
        clusters: The index of each item's conversation, ascending.
        weights: How often each conversation counts, shape ``(conversations,)``.

    Returns:
        Shapes ``(models,)`` and ``(models, models)``; see ``chatladder.evaluation.scores.clustered_variance``.
    """
    area, influence = influences(order, needed, weights[clusters])
    sums = np.add.reduceat(influence, np.flatnonzero(np.diff(clusters, prepend=-1)), axis=1)
    drawn = weights.sum()
    return area, (sums * weights) @ sums.T * drawn / (drawn - 1)


class Drawn(NamedTuple):
    """AUROCs of all models under draws of items: shapes ``(draws, models)`` and ``(draws, models, models)``."""

    area: Floats
    covariance: Floats


def draw_items(models: Models, noise: float, draws: int, seed: int) -> Drawn:
    """Score all models on drawn conversations, with that share of the labels flipped at random.

    Equal seeds draw equal conversations; the flipped labels of less noise are among those of more.
    """
    order = np.argsort(models.evidence, axis=1, kind="stable")
    count = int(models.clusters[-1]) + 1
    scored = []
    for draw in tqdm(range(draws), desc=f"noise {noise}", leave=False, disable=None):
        generator = np.random.default_rng([seed, draw])
        weights = generator.multinomial(count, np.full(count, 1 / count)).astype(np.float64)
        flips = generator.random(len(models.needed)) < noise
        scored.append(areas(order, models.needed ^ flips, models.clusters, weights))
    return Drawn(*(np.stack(parts) for parts in zip(*scored, strict=True)))


class Ladders(NamedTuple):
    """Many ladders: slopes with their intervals, one a row, in the order of the draws of items.

    Attributes:
        low: Lower ends, shape ``(ladders,)``.
        high: Upper ends.
    """

    low: Floats
    high: Floats

    def share(self, holds: Bools, draws: int) -> str:
        """Return the percentage of the ladders, with the half-width of its 95 % interval over draws of items."""
        by_draw = holds.reshape(draws, -1).mean(axis=1)
        half = 1.96 * by_draw.std(ddof=1) / np.sqrt(draws)
        return f"{100 * holds.mean():.1f} ± {100 * half:.1f}"


def judge_models(drawn: Drawn, chosen: Codes, doublings: Floats) -> Ladders:
    """Apply the rule to ladders of these models.

    Args:
        drawn: The scores.
        chosen: The models of each ladder, shape ``(ladders, m)``, equally many ladders for each draw, draw after draw.
        doublings: The position of each model, shape ``(m,)``.
    """
    draw = np.repeat(np.arange(len(drawn.area)), len(chosen) // len(drawn.area))
    weights = slope_weights(doublings)
    covariance = drawn.covariance[draw[:, None, None], chosen[:, :, None], chosen[:, None, :]]
    by_items = np.einsum("i,kij,j->k", weights, covariance, weights)
    _, low, high = slope_interval(doublings, drawn.area[draw[:, None], chosen], by_items)
    return Ladders(low, high)


def choose(generator: np.random.Generator, pool: Sequence[int], count: int, ladders: int) -> Codes:
    """Return ``count`` models of a pool for each ladder, without replacement, in random order."""
    return np.asarray(pool)[np.argsort(generator.random((ladders, len(pool))), axis=1)[:, :count]]


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def size_table(models: Models) -> Iterator[str]:
    """Yield a Markdown table of the mean and spread of the models of each size."""
    once = np.ones(models.clusters[-1] + 1)
    order = np.argsort(models.evidence, axis=1, kind="stable")
    area, covariance = areas(order, models.needed, models.clusters, once)
    precision = precision_of(models, models.needed)
    yield row("rung", "parameters", "AUROC, mean", "SD over seeds", "of it items", "precision, mean", "SD over seeds")
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for place, size in enumerate(models.sizes):
        block = slice(place * models.seeds, (place + 1) * models.seeds)
        own = covariance[block, block]
        # The part that two models of a size do not share: half the variance of their difference over conversations.
        apart = np.trace(own) / models.seeds - (own.sum() - np.trace(own)) / models.seeds / (models.seeds - 1)
        figures = (area[block].mean(), area[block].std(ddof=1), np.sqrt(apart))
        more = (precision[block].mean(), precision[block].std(ddof=1))
        yield row(size, f"{models.params[place]:,}", *(f"{figure:.4f}" for figure in (*figures, *more)))


class Shape(NamedTuple):
    """The shape of a ladder: the positions of its models (log2 of parameters), and its name in tables."""

    name: str
    doublings: Floats


def shapes(models: Models) -> list[Shape]:
    """Return the shapes of the committed ladder, of one seed a rung, and of a ladder of seven downloaded models."""
    first, last = models.doublings[[0, -1]].tolist()
    sizes = len(models.sizes)
    return [
        Shape(f"{sizes} sizes x 3 seeds", np.repeat(models.doublings, 3)),
        Shape(f"{sizes} sizes x 1 seed", models.doublings),
        Shape("7 sizes x 1 seed", np.linspace(first, last, 7)),
    ]


def fitted(normals: Floats, doublings: Floats, mean: Floats, spread: Floats, by_items: float) -> Ladders:
    """Apply the rule to ladders whose scores are drawn from normal distributions.

    Args:
        normals: Draws of the standard normal distribution, shape ``(ladders, m + 1)``: each model's deviation, and the
            error of the slope over conversations.
        doublings: The position of each model, shape ``(m,)``.
        mean: The mean score of each model, shape ``(m,)``.
        spread: The standard deviation over seeds, shape ``(m,)``.
        by_items: The variance of the slope over conversations, which the rule is given.
    """
    # An error of the slope itself does not change the residuals.
    tilt = np.sqrt(by_items) * normals[:, -1:] * (doublings - doublings.mean())
    scores = mean + spread * normals[:, :-1] + tilt
    _, low, high = slope_interval(doublings, scores, np.full(len(normals), by_items))
    return Ladders(low, high)


def item_variance(drawn: Drawn, models: Sequence[int], doublings: Floats) -> float:
    """Return the mean variance over conversations of a ladder's slope at one size, from its models' unshared part."""
    own = drawn.covariance.mean(axis=0)[np.ix_(models, models)]
    count = len(own)
    shared = (own.sum() - np.trace(own)) / count / (count - 1)
    weights = slope_weights(doublings)
    return float((np.trace(own) / count - shared) * (weights @ weights))


def same_size_table(models: Models, drawn: Drawn, margin: float, ladders: int, seed: int) -> Iterator[str]:
    """Yield a Markdown table of verdicts on ladders of one size, which should find nothing."""
    draws, margins = len(drawn.area), (margin, 0.0)
    heads = [f"{how}, margin {each:g}: {{}}, %" for how in ("fitted", "drawn") for each in margins]
    yield row("models of", "ladder", *(head.format(what) for head in heads for what in ("pass", "fail")))
    yield f"| --- | --- |{' --- |' * (2 * len(heads))}"
    area = drawn.area.mean(axis=0)
    for place, size in enumerate(models.sizes):
        pool = range(place * models.seeds, (place + 1) * models.seeds)
        for shape in shapes(models):
            generator = np.random.default_rng([seed, place, len(shape.doublings)])
            by_items, count = item_variance(drawn, pool, shape.doublings), len(shape.doublings)
            normals = generator.standard_normal((ladders, count + 1))
            verdicts = []
            for resampled in range(SEED_DRAWS + 1):
                seeds = area[pool] if not resampled else generator.choice(area[pool], models.seeds)
                spread = np.full(count, seeds.std(ddof=1))
                found = fitted(normals, shape.doublings, np.zeros(count), spread, by_items)
                verdicts.append([held.mean() for held in decided(found, margins)])
            cells = [f"{100 * share:.1f} [{_ends(more)}]" for share, *more in zip(*verdicts, strict=True)]
            if count <= models.seeds:
                chosen = choose(generator, pool, count, ladders)
                real = judge_models(drawn, chosen, shape.doublings)
                cells += [real.share(held, draws) for held in decided(real, margins)]
            else:
                cells += ["too few seeds", *[""] * (2 * len(margins) - 1)]
            yield row(size, shape.name, *cells)


def decided(found: Ladders, margins: Sequence[float]) -> Iterator[Bools]:
    """Yield which ladders pass, and which fail, for each margin."""
    for margin in margins:
        yield found.low > margin
        yield found.high < -margin


def _ends(shares: Sequence[float]) -> str:
    low, high = np.quantile(shares, [TAIL, 1 - TAIL])
    return f"{100 * low:.1f}, {100 * high:.1f}"


def committed_table(
    models: Models, by_noise: Mapping[float, Drawn], margin: float, ladders: int, seed: int
) -> Iterator[str]:
    """Yield a Markdown table of verdicts on ladders of the committed sizes, by label noise and by the rule's margin."""
    tried = [f"margin {each:g}: pass, %" for each in MARGINS]
    yield row("ladder", "flipped", "slope", "half-width", *tried, f"margin {margin:g}: fail, %")
    yield f"| --- | ---: | ---: | ---: |{' --- |' * (len(tried) + 1)}"
    for shape in shapes(models):
        for noise, drawn in by_noise.items():
            draws = len(drawn.area)
            generator = np.random.default_rng([seed, len(shape.doublings)])
            if len(shape.doublings) % len(models.sizes):
                found = between_sizes(generator, models, drawn, shape, ladders)
                draws = ladders  # each has its own draw
            else:
                each = len(shape.doublings) // len(models.sizes)
                starts = range(0, len(models.evidence), models.seeds)
                parts = [choose(generator, range(at, at + models.seeds), each, ladders) for at in starts]
                found = judge_models(drawn, np.concatenate(parts, axis=1), shape.doublings)
            half = (found.high - found.low) / 2
            passes = [found.share(found.low > each, draws) for each in MARGINS]
            slope = f"{(found.low + half).mean():+.4f}"
            fails = found.share(found.high < -margin, draws)
            yield row(shape.name, f"{noise:.0%}", slope, f"{half.mean():.4f}", *passes, fails)


def between_sizes(generator: np.random.Generator, models: Models, drawn: Drawn, shape: Shape, ladders: int) -> Ladders:
    """Apply the rule to ladders of sizes between the committed ones, with interpolated mean and spread."""
    by_size = models.by_size(drawn.area.mean(axis=0))
    mean, spread = (
        np.interp(shape.doublings, models.doublings, each)
        for each in (by_size.mean(axis=1), by_size.std(axis=1, ddof=1))
    )
    pools = [range(at, at + models.seeds) for at in range(0, len(models.evidence), models.seeds)]
    by_items = float(np.mean([item_variance(drawn, pool, shape.doublings) for pool in pools]))
    normals = generator.standard_normal((ladders, len(mean) + 1))
    return fitted(normals, shape.doublings, mean, spread, by_items)


def circle_table(models: Models, right: Bools, seed: int) -> Iterator[str]:
    """Yield a Markdown table of slopes after right labels were made wrong: those most contradicted by models, or any.

    Args:
        models: The models, all of which make the slope.
        right: True for each label that is right, shape ``(n,)``.
        seed: The seed of the random labels.
    """
    order = np.argsort(models.evidence, axis=1, kind="stable")
    weights = slope_weights(np.repeat(models.doublings, models.seeds))
    once = np.ones(len(models.needed))

    def slopes(changed: Sequence[int] | Codes) -> tuple[float, float]:
        needed = models.needed.copy()
        needed[changed] ^= True
        area, _ = influences(order, needed, once)
        return float(area @ weights), float(precision_of(models, needed) @ weights)

    places = np.flatnonzero(right)
    mean = standardized(models.evidence).mean(axis=0)
    against = np.where(models.needed, -mean, mean)[places]
    suspects = places[np.argsort(-against, kind="stable")[:SUSPECTS]]
    generator = np.random.default_rng(seed)
    others = [slopes(generator.choice(places, SUSPECTS, replace=False)) for _ in range(SEED_DRAWS)]
    rows = {
        "as they are": slopes([]),
        f"the {SUSPECTS} right ones that the models contradict most, made wrong": slopes(suspects),
        f"{SUSPECTS} right ones at random, made wrong (mean of {SEED_DRAWS})": np.mean(others, axis=0),
    }
    yield row("labels", "slope of AUROC", "slope of precision")
    yield "| --- | ---: | ---: |"
    for name, figures in rows.items():
        yield row(name, *(f"{figure:+.4f}" for figure in figures))


def precision_of(models: Models, needed: Bools) -> Floats:
    """Return the precision of every model's answers, shape ``(models,)``."""
    given = models.answers == NEEDED
    precision: Floats = (given & needed).sum(axis=1) / given.sum(axis=1)
    return precision


def standardized(evidence: Floats) -> Floats:
    """Return each model's log-odds minus their mean, in standard deviations, shape ``(models, n)``."""
    centred = evidence - evidence.mean(axis=1, keepdims=True)
    scaled: Floats = centred / centred.std(axis=1, keepdims=True)
    return scaled


def right_labels(models: Models, labelled: Path, truth: Path) -> Bools:
    """Return which labels are those of the simulator."""
    known = {item.item_id: item.label for item in true_items(read_rows(labelled, LABELLED), read_truth(truth))}
    wanted = np.array([known[item_id] == ANSWERS[NEEDED] for item_id in models.item_ids])
    is_right: Bools = wanted == models.needed
    return is_right


def measured_on(answers: Path, labelled: Path) -> dict[str, str]:
    """Return hashes of the inputs of answers and labels: those at the time of the answers, and today's labels.

    Raises:
        DataError: If the answers do not record them.
    """
    recorded = (pq.read_schema(answers).metadata or {}).get(b"measured_on")
    if recorded is None:
        raise DataError(f"{answers}: expected the hashes of what was answered, got none. Run answers again.")
    return {**json.loads(recorded), **{path: fingerprint(path) for path in known(labelled)}}


@click.group(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Measure the check of the labels by model size on ladders whose truth is known."""


@main.command(context_settings=SETTINGS)
@click.option("--seeds", type=click.IntRange(2), required=True, help="Of every shape, from 0.")
@click.option("--params", type=InputFile, default="params.yaml", show_default=True)
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--work", type=OutputFolder, default="data/same_size", show_default=True, help="Models and answers.")
@click.option("--out", type=OutputFile, default=ANSWERS_FILE, show_default=True)
def answers(seeds: int, params: Path, questions: Path, work: Path, out: Path) -> None:
    """Train the shapes of params.yaml with several seeds, and write what each answers."""
    rungs = list(read_section(params, "ladder"))
    hashes = {path: fingerprint(path) for path in known(questions, Path(RESTS_ON))}
    made_for = work / "measured_on.json"
    if made_for.exists() and read_json(made_for) != hashes:
        raise DataError(f"{work}: expected models of this demo, got those of another. Delete the folder.")
    work.mkdir(parents=True, exist_ok=True)
    write_json(made_for, hashes)
    written = {}
    for seed in range(seeds):
        for rung in rungs:
            name = f"{rung}_{seed}"
            base, predictions = work / "bases" / name, work / "answers" / f"{name}.parquet"
            written[rung, seed] = predictions
            start = monotonic()
            if not (base / RUNG).is_file():
                train(params, rung, seed, base)
            trained = monotonic()
            if not predictions.is_file():
                answer(params, base, questions, predictions)
                click.echo(f"{name}: trained in {trained - start:.0f} s, answered in {monotonic() - trained:.0f} s")
    gather(written, work / "bases", hashes, out)
    click.echo(f"{out}: {len(written)} models")


@main.command(context_settings=SETTINGS)
@click.option("--ladders", type=click.IntRange(ITEM_DRAWS), required=True, help="Of every row.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Of all draws.")
@click.option("--params", type=InputFile, default="params.yaml", show_default=True)
@click.option("--answers", type=InputFile, default=ANSWERS_FILE, show_default=True)
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True)
@click.option("--truth", type=InputFile, default="data/demo/truth.jsonl.bz2", show_default=True)
@save_option
def tables(
    ladders: int, seed: int, params: Path, answers: Path, labelled: Path, truth: Path, save: Path | None
) -> None:
    """Print how often ladders of one size, and of the committed sizes, pass and fail."""
    margin = read_settings(GateSettings, params, "gate").margin
    models, rests_on = read_models(answers, labelled), measured_on(answers, labelled)
    ladders -= ladders % ITEM_DRAWS
    by_noise = {noise: draw_items(models, noise, ITEM_DRAWS, seed) for noise in NOISE}
    made: list[Callable[[], Iterator[str]]] = [
        lambda: size_table(models),
        lambda: same_size_table(models, by_noise[0.0], margin, ladders, seed),
        lambda: committed_table(models, by_noise, margin, ladders, seed),
        lambda: circle_table(models, right_labels(models, labelled, truth), seed),
    ]
    text = "\n\n".join("\n".join(table()) for table in made)
    publish(save, __spec__.name, text, rests_on)


if __name__ == "__main__":
    main()
