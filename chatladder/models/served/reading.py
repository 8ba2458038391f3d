"""The answer of a model behind an endpoint: the probabilities of its first tokens, or an option by name.

By probabilities: each token that the server lists at the start of the answer adds its probability to the option that it
spells out (no letter or digit may follow), or whose letter it is. A token that only begins an option, such as "need" or
不, may continue differently and counts for none; if the model generated it, the next list shows how it continues. The
probability of listed tokens that belong to no option, and of unlisted tokens, is unseen. Leading white space is
skipped, with its probability as a factor. A thought in ``<think>`` is skipped, too; the probabilities are then
conditional on that thought.

The probability of an unseen option is bounded: by that of an unlisted token, which is at most the last listed one's and
at most the remainder, plus that of listed tokens that only begin the option. The option gets half of this bound, but at
most half of any other option's probability, so that a single answer cannot outweigh all others.

By name: the whole answer is an option's text, or ``{"answer": "<option>"}``. Anything else is not an answer.

Sources:
    platform.openai.com/docs/api-reference/chat/object (``logprobs.content``, ``top_logprobs``, ``bytes``);
    the same fields in vLLM's and llama.cpp's servers. vLLM writes bytes that are not text as U+FFFD; they are unseen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chatladder.endpoint.completion import THOUGHT, THOUGHT_ENDS, bare, content_of, entry, only_entry
from chatladder.models.prompts import LETTERS
from chatladder.vocabulary import ANSWERS

#: The only entry of the object in the schema.
NAME = "answer"
_LETTERS = tuple(letter.encode("utf-8") for letter in LETTERS)


class ServedAnswer(NamedTuple):
    """A model's answer to one prompt.

    Attributes:
        shares: Probabilities of the options, in the order of ``ANSWERS``, with sum 1; None if the answer is no option.
        seen: The probability that the model answers with one of the options, as far as the server lists it; 1 for an
            option by name.
    """

    shares: tuple[float, ...] | None
    seen: float


UNREAD = ServedAnswer(None, 0.0)


class TokenStep(NamedTuple):
    """One generated token.

    Attributes:
        token: The token's bytes.
        probability: The token's probability.
        listed: The most likely tokens at its position, with their probabilities.
    """

    token: bytes
    probability: float
    listed: list[tuple[bytes, float]]


def read_probabilities(choice: Any, options: Mapping[str, str]) -> ServedAnswer | None:
    """Read each option's probability.

    Args:
        choice: The first choice of a chat completion.
        options: The text of each option, keyed by ``ANSWERS``.

    Returns:
        The answer; None if the server lists no tokens.
    """
    steps = _steps(choice)
    if not any(step.listed for step in steps):
        return None
    texts = [options[name].encode("utf-8") for name in ANSWERS]
    shares, hidden = [0.0] * len(texts), [0.0] * len(texts)
    answer, reached = b"", 1.0
    for step in steps[_after_thought(steps) :]:
        for token, probability in step.listed:
            if (named := option_of(answer + token, texts)) is not None:
                shares[named] += reached * probability
            elif token != step.token or step is steps[-1]:
                for option in _begun(answer + token, texts):
                    hidden[option] += reached * probability
        unlisted = reached * _most_hidden(step)
        hidden = [most + unlisted for most in hidden]
        answer = (answer + step.token).lstrip()
        reached *= step.probability
        is_whole = answer and (option_of(answer, texts) is not None or not _begun(answer, texts))
        if is_whole or not step.token:
            break
    if not (seen := math.fsum(shares)):
        return UNREAD
    least = min(filter(None, shares))
    shares = [share or min(most, least) / 2 for share, most in zip(shares, hidden, strict=True)]
    total = math.fsum(shares)
    return ServedAnswer(tuple(share / total for share in shares), min(1.0, seen))


def is_blank(choice: Any) -> bool:
    """Return True if nothing was generated."""
    content = content_of(choice)
    return not isinstance(content, str) or not content.strip()


def read_name(choice: Any, options: Mapping[str, str]) -> ServedAnswer:
    """Return the option that the answer names, with probability 1."""
    text = bare(content_of(choice)).rpartition(THOUGHT_ENDS)[2].strip()
    value = only_entry(text, NAME)
    answer = value.strip() if isinstance(value, str) else text
    for name in ANSWERS:
        rest = answer.removeprefix(options[name])
        # "needed." is an answer, "needed/complete/unknown" is not.
        if answer.startswith(options[name]) and not any(map(str.isalnum, rest)):
            return ServedAnswer(tuple(float(name == other) for other in ANSWERS), 1.0)
    return UNREAD


def option_of(answer: bytes, options: Sequence[bytes]) -> int | None:
    """Return the only option that an answer spells out, or whose letter it begins with; None for none or several."""
    answer = answer.lstrip()
    fits = [
        number
        for number, option in enumerate(options)
        if (answer.startswith(option) and _ends(answer[len(option) :]))
        or (answer and option.startswith(answer) and option.startswith(_LETTERS))
    ]
    return fits[0] if len(fits) == 1 else None


def _begun(answer: bytes, options: Sequence[bytes]) -> list[int]:
    """Return the options that begin with the answer so far, if it is not only white space."""
    answer = answer.lstrip()
    return [number for number, option in enumerate(options) if answer and option.startswith(answer)]


def _ends(rest: bytes) -> bool:
    """Return True if the option's word ends before ``rest``; an incomplete character may be the start of a letter."""
    first = rest.decode("utf-8", "replace")[:1]
    return first != "\ufffd" and not first.isalnum()


def _most_hidden(step: TokenStep) -> float:
    """Return the largest possible probability of an unlisted token."""
    probabilities = [probability for _, probability in step.listed]
    return max(0.0, min(*probabilities, 1 - math.fsum(probabilities))) if probabilities else 0.0


def _after_thought(steps: Sequence[TokenStep]) -> int:
    """Return the step at which the answer begins: after a thought, or past the last step if a thought does not end."""
    text = b""
    for number, step in enumerate(steps, start=1):
        text += step.token
        if THOUGHT_ENDS.encode() in text:
            return number
    return len(steps) if text.lstrip().startswith(THOUGHT.encode()) else 0


def _steps(choice: Any) -> list[TokenStep]:
    """Return the generated tokens, without malformed ones."""
    steps = []
    for each in _list(entry(entry(choice, "logprobs"), "content")):
        generated, listed = _token(each), [_token(other) for other in _list(entry(each, "top_logprobs"))]
        if generated is not None:
            steps.append(TokenStep(*generated, [other for other in listed if other is not None]))
    return steps


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _token(value: Any) -> tuple[bytes, float] | None:
    text, spelled, logprob = (entry(value, name) for name in ("token", "bytes", "logprob"))
    if isinstance(logprob, bool) or not isinstance(logprob, (int, float)) or not math.isfinite(logprob):
        return None
    probability = math.exp(min(0.0, logprob))
    # Bytes first: a token may be part of a character, which text cannot represent.
    if isinstance(spelled, list) and all(type(byte) is int and 0 <= byte <= 255 for byte in spelled):
        return bytes(spelled), probability
    return (text.encode("utf-8", "replace"), probability) if isinstance(text, str) else None
