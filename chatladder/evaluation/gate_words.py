"""The gate's verdict in plain words: what it means, and what to do next."""

from collections.abc import Iterator, Mapping

from chatladder.evaluation.gate import FAIL, FEWEST_CONVERSATIONS, GATED, INCONCLUSIVE, PASS, Gate
from chatladder.evaluation.intervals import interval

#: A pass is no proof of the labels.
_LIMIT = (
    "Wrong labels that are spread evenly do not reverse the order of the models, they flatten the slope: compare it "
    "with that of the round before."
)
_FIXED = (
    "The intervals resample conversations and hold the weights fixed: the luck of training, which moves the macro-F1 "
    "of tiny models by .02 to .05, is not in them."
)


def advice(gate: Gate, metric: str) -> Iterator[str]:
    """The verdict on one metric, why, and what to do.

    Args:
        gate: The verdict.
        metric: Name of the metric, as in ``GATED``.
    """
    name = shown(metric)
    sentence = name[0].upper() + name[1:]
    if gate.verdict == PASS:
        yield f"gate: PASS. {sentence} grows with size, and no larger model is credibly below a smaller one."
        yield f"Nearest to a contradiction in {name}: {pair_text(gate)}."
        yield f"Go on and train. {_LIMIT}"
    elif gate.verdict == FAIL and gate.worst is not None:
        yield f"gate: FAIL. {sentence} falls credibly with size: {pair_text(gate)}."
        yield from _after_a_fail(gate)
    else:
        yield f"gate: INCONCLUSIVE. {_undecided(gate, sentence)}"
        yield from _until_decided(gate)
    yield _FIXED


def _after_a_fail(gate: Gate) -> Iterator[str]:
    yield "Do not train yet: look again at the items on which these two differ, and at the definition of the labels."
    if gate.slope is not None and interval("slope", gate.slope)["slope_lo"] > 0:
        yield (
            "The slope is above 0 all the same, so this may be one model and not the labels: a second rung of its size "
            "from another seed shows which, as the scores of equal sizes are averaged."
        )


def _undecided(gate: Gate, name: str) -> str:
    if gate.too_few:
        return f"Intervals over fewer than {FEWEST_CONVERSATIONS} conversations decide nothing."
    if gate.unmeasured:
        return f"{name} is not defined for {', '.join(gate.unmeasured)}: too few answers or labels of its kind."
    return f"{name} neither grows credibly with size nor credibly falls anywhere."


def _until_decided(gate: Gate) -> Iterator[str]:
    if gate.unmeasured:
        yield "Take that rung off the ladder, or go by the verdict on the centred answers."
    elif gate.more_items is None:
        yield (
            "More items would not help: the models differ too little. Add a rung of quite another size, or look again "
            "at the definition of the labels."
        )
    else:
        yield (
            f"About {gate.more_items:,} more labelled items would decide if the estimates stayed where they are. They "
            "will move, and if size makes no difference to these labels, no number decides."
        )


def pair_text(gate: Gate) -> str:
    """The worst pair, as ``large against small -0.050 [-0.080, -0.020]``."""
    if gate.worst is None:
        return "no pair"
    smaller, larger, difference, low, high = gate.worst
    return f"{larger} against {smaller} {difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def overview(title: str, gates: Mapping[str, Gate]) -> str:
    """One line with the verdict on every metric.

    Args:
        title: How the answers were read.
        gates: Metric -> gate.
    """
    parts = []
    for metric in GATED:
        gate = gates[metric]
        slope = "not defined"
        if gate.slope is not None:
            value, low, high = interval("slope", gate.slope).values()
            slope = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
        parts.append(f"{shown(metric)} {gate.verdict} {slope}")
    return f"{title}: {', '.join(parts)}"


def leaning(raw: Gate, centred: Gate) -> Iterator[str]:
    """A warning if a pass rests on the raw answers alone."""
    if raw.verdict == PASS and centred.verdict == INCONCLUSIVE:
        yield (
            "Once each model's own leaning to one answer is taken off, this growth is no longer credible: part of it "
            "is that leaning."
        )
    elif raw.verdict == PASS and centred.verdict == FAIL:
        yield f"Once each model's own leaning to one answer is taken off, the order breaks: {pair_text(centred)}."


def shown(metric: str) -> str:
    """A metric's name as text shows it."""
    return {"macro_f1": "macro-F1"}.get(metric, metric.replace("_", " "))
