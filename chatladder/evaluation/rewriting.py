"""Scores of models' rewrites of questions, against people's rewrites and unchanged questions, and in a search.

Three policies are compared: rewrite no question, every question, or the questions that the tuned rung classifies as
needed (gated). All are scored on the same test questions and draws, so differences are paired.

A rewrite is compared with the unchanged question in one line, with people as numbers and without the people that it
addresses at its start. This is the stronger of two ways to copy the question.

Source:
    chrF: Popović (2015), https://aclanthology.org/W15-3049, by sacrebleu; per text, 0 to 100, then averaged.
    ROUGE-L: Lin (2004), https://aclanthology.org/W04-1013; F1 over the words that a search would see, since
    the package rouge-score drops every character that is not ASCII.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.retrieval import Found, words
from chatladder.evaluation.scores import Bootstrap, Floats, interval, rounded

POLICIES = ("never", "always", "gated")


@dataclass(frozen=True)
class Asked:
    """The test questions.

    Attributes:
        windows: The text of each question's window and of the question, n.
        plain: Each question unchanged.
        references: A person's rewrite of each question; None if nobody rewrote it.
        needed: True if its label is needed, shape ``(n,)``.
        sample: Draws of their conversations.
    """

    windows: list[str]
    plain: list[str]
    references: list[str | None]
    needed: NDArray[np.bool_]
    sample: Bootstrap

    @cached_property
    def written(self) -> NDArray[np.bool_]:
        """True for each question that a person rewrote, shape ``(n,)``."""
        return np.array([reference is not None for reference in self.references])

    @cached_property
    def ideals(self) -> list[str]:
        """The ideal output for each question: the reference if there is one, else the unchanged question."""
        return [reference or plain for reference, plain in zip(self.references, self.plain, strict=True)]

    @cached_property
    def copied(self) -> Floats:
        """The chrF of each unchanged question, shape ``(n,)``."""
        return chrf_of(self.plain, self.ideals)


def mean_over(values: Floats, chosen: NDArray[np.bool_], sample: Bootstrap) -> Floats:
    """Return the mean of some items' values under every draw, shape ``(1 + draws,)``; NaN if a draw has none of them.

    Args:
        values: The value of each item, shape ``(n,)``.
        chosen: True for the items that count, shape ``(n,)``.
        sample: The draws.
    """
    size = sample.weights.shape[1]
    sums, counts = (
        sample.weights @ np.bincount(sample.clusters[chosen], weights=each[chosen], minlength=size)
        for each in (values, np.ones(len(values)))
    )
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def chrf_of(texts: Sequence[str], references: Sequence[str]) -> Floats:
    """Return chrF of each text, 0 to 100, shape ``(n,)``."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return np.array([chrf.sentence_score(text, [ideal]).score for text, ideal in zip(texts, references, strict=True)])


def rouge_l_of(texts: Sequence[str], references: Sequence[str]) -> Floats:
    """Return ROUGE-L of each text, 0 to 1: the F1 of the longest common subsequence of words, shape ``(n,)``."""
    from rapidfuzz.distance import LCSseq

    pairs = [(words(text), words(reference)) for text, reference in zip(texts, references, strict=True)]
    return np.array([2 * LCSseq.similarity(*pair) / max(1, sum(map(len, pair))) for pair in pairs])


def invented(texts: Sequence[str], windows: Sequence[str]) -> Floats:
    """Return the share of each text's words that occur neither in its question nor in its window, shape ``(n,)``."""
    shares = []
    for text, window in zip(texts, windows, strict=True):
        said, given = words(text), {*words(window)}
        shares.append(sum(word not in given for word in said) / max(1, len(said)))
    return np.array(shares)


def _changed(texts: Sequence[str], asked: Asked) -> Floats:
    return np.array([_bare(text) != _bare(plain) for text, plain in zip(texts, asked.plain, strict=True)], dtype=float)


def _bare(text: str) -> str:
    return "".join(text.split())


def text_metrics(texts: Sequence[str], asked: Asked) -> dict[str, float | None]:
    """Return scores of rewrites against people's rewrites, over the questions that somebody rewrote.

    Returns:
        ``exact`` (the share that is equal except for white space), ``chrf``, ``above_copy`` (chrF minus that of the
        unchanged question), ``rouge_l``, and ``invented`` (the share of words in neither question nor window); each
        with its interval.
    """
    ideals, written = asked.ideals, asked.written
    exact = np.array([_bare(text) == _bare(ideal) for text, ideal in zip(texts, ideals, strict=True)], dtype=float)
    chrf = chrf_of(texts, ideals)
    named: dict[str, float | None] = {}
    for name, values in {
        "exact": exact,
        "chrf": chrf,
        "above_copy": chrf - asked.copied,
        "rouge_l": rouge_l_of(texts, ideals),
        "invented": invented(texts, asked.windows),
    }.items():
        named |= interval(mean_over(values, written, asked.sample)).named(name)
    return named


def policy_metrics(
    texts: Sequence[str],
    gate: NDArray[np.bool_],
    asked: Asked,
    search: Callable[[Sequence[str]], Found] | None = None,
) -> dict[str, dict[str, float | None]]:
    """Return the scores of each policy over all questions.

    Args:
        texts: A model's rewrite of each question, n.
        gate: True if the model's answer is needed, shape ``(n,)``.
        asked: The questions.
        search: Searches the archive with one text for each question.

    Returns:
        By policy: ``written`` (rewrites per 100 questions), ``chrf`` (against the reference, or the unchanged question
        if there is none), ``harm`` (the share of questions that need nothing but were changed), and with a search
        ``recall`` and ``mrr`` within the first ten results. For gated also its lead over always (``above_always``,
        ``recall_above_always``) and over never.
    """
    gated = [text if is_needed else plain for text, is_needed, plain in zip(texts, gate, asked.plain, strict=True)]
    written = {"never": 0.0, "always": 100.0, "gated": 100 * float(gate.mean())}
    given = dict(zip(POLICIES, (asked.plain, texts, gated), strict=True))
    everything = np.ones(len(asked.plain), dtype=np.bool_)
    chrf = {policy: chrf_of(each, asked.ideals) for policy, each in given.items() if policy != "never"}
    chrf["never"] = asked.copied
    found = {policy: search(each) for policy, each in given.items()} if search else {}
    metrics: dict[str, dict[str, float | None]] = {}
    for policy, each in given.items():
        named: dict[str, float | None] = {"written": rounded(written[policy])}
        named |= interval(mean_over(chrf[policy], everything, asked.sample)).named("chrf")
        named |= interval(mean_over(_changed(each, asked), ~asked.needed, asked.sample)).named("harm")
        if found:
            named |= interval(mean_over(found[policy].recall, found[policy].answered, asked.sample)).named("recall")
            named |= interval(mean_over(found[policy].reciprocal, found[policy].answered, asked.sample)).named("mrr")
        metrics[policy] = named
    for other in ("always", "never"):
        more = mean_over(chrf["gated"] - chrf[other], everything, asked.sample)
        metrics["gated"] |= interval(more).named(f"above_{other}")
        if found:
            more = mean_over(found["gated"].recall - found[other].recall, found["gated"].answered, asked.sample)
            metrics["gated"] |= interval(more).named(f"recall_above_{other}")
    return metrics
