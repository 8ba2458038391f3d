"""A rung behind any OpenAI-compatible endpoint: a model too large for this machine, served elsewhere.

It gets the same text as local rungs, as one message, as far as the chat allows. The server wraps it in its chat
template, whose special tokens are unknown. So anything in a message that looks like one (``<|im_end|>``, ``</s>``,
``[INST]``) is broken up by a space, as for a local model; placeholders of this pipeline such as ``<phone>`` are words
that local models see too, and stay. The server's tokenizer is unknown as well: token counts are overestimated (UTF-8
bytes / 3), so a long prompt may lose more history lines than with a local model.

If a server lists the probabilities of the first tokens, each option has its probability, as from a local model. If
not, the model names an option, which gets probability 1: such a rung has answers, but no calibrated probabilities. An
answer that is none of the options is cached too, since a model that decodes greedily would repeat it.

Each question is asked in several orders of the options, with one request per order. As for local rungs, the average is
over log-probabilities; for options by name, it is the share of the orders in which each is named.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chatladder.endpoint.asking import Job, Question, RunReport, Unread, ask
from chatladder.endpoint.cache import Values
from chatladder.endpoint.completion import BYTES_A_TOKEN, entry, guess_tokens, response_format
from chatladder.endpoint.connection import Connection
from chatladder.io.console import DataError, printable
from chatladder.io.options import setting
from chatladder.models.prompts import Prompt, orders_of, without_oldest
from chatladder.models.served.reading import NAME, UNREAD, ServedAnswer, is_blank, read_name, read_probabilities
from chatladder.vocabulary import ANSWERS, CHANCES, IS_BINARY, likeliest

#: The default folder of the answer cache; git and DVC ignore it.
CACHE_FOLDER = Path(".chatladder/served")
#: Forms of a request: the probabilities of the first tokens; an option by name, with a schema; the same without one.
PROBABILITIES, SCHEMA, PLAIN = "probabilities", "schema", "plain"
#: The forms that each value of ``--ask`` allows, in the order in which they are tried.
ASKS = {"auto": (PROBABILITIES, SCHEMA, PLAIN), "logprobs": (PROBABILITIES,), "choice": (SCHEMA, PLAIN)}
#: After this many answers of which none is an option, the rest is hopeless.
FIRST_UNREAD = 20
#: If the listed options have less than this total probability, the answer is based on tokens that the model rarely
#: generates.
FAINT = 0.5
#: Probability of an option that the server calls impossible, since its logarithm must be finite.
IMPOSSIBLE = 1e-12
DIGITS = 5
#: The start of a token of a chat template: an angle bracket (also in full width, which some tokenizers fold) before a
#: word or a bar, or a square bracket before a word in capitals.
_OPENING = re.compile(
    r"[<＜](?=[/|｜]|(?!(?:phone|email|id|ip|key|name)>)[A-Za-z_])|\[(?=/?[A-Za-z]*[A-Z]{2,}[^\]\n]{0,20}\])"
)


@dataclass(frozen=True, kw_only=True)
class ServedSettings(Connection):
    """The settings in the section of a served rung."""

    params: int = setting("Total parameters of the model.", least=1)
    active_params: int | None = setting("Active parameters per token, for a mixture of experts.", default=None, least=1)
    ask: str = setting(
        "Ask for the first tokens' probabilities, or an option by name; auto: depends on the server.",
        default="auto",
        choices=tuple(ASKS),
    )
    top_logprobs: int = setting(
        "Number of tokens that the server lists; at most 20 for OpenAI and vLLM.", default=20, least=1
    )


class ServedAnswers(NamedTuple):
    """The answers of a served model.

    Attributes:
        answers: The answer to each prompt, over all its orders.
        form: The form of the requests.
        shortened: The number of prompts that were shortened.
        report: The counts of the run.
    """

    answers: list[ServedAnswer]
    form: str
    shortened: int
    report: RunReport

    def describe(self, settings: ServedSettings) -> dict[str, Any]:
        """Return the fields of the model in ``rung.json``, except its source and name."""
        seen = [answer.seen for answer in self.answers if answer.shares]
        active = {"active_params": settings.active_params} if settings.active_params else {}
        return {
            "params": settings.params,
            **active,
            "model": settings.model,
            "asked": self.form,
            "answers": len(self.answers),
            "unread": len(self.answers) - len(seen),
            "seen": round(sum(seen) / len(seen), DIGITS),
            "faint": sum(each < FAINT for each in seen),
        }

    def rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return rows of ``PREDICTIONS``; an answer that is no option is unknown, unparsed and has no probabilities."""
        rows = []
        for item_id, answer in zip(ids, self.answers, strict=True):
            shares = answer.shares or (None,) * len(ANSWERS)
            named = likeliest(answer.shares) if answer.shares else "unknown"
            chances = dict(zip(CHANCES, shares, strict=True))
            parsed = answer.shares is not None
            rows.append({"item_id": item_id, "seed": 0, **chances, "answer": named, "parsed": parsed})
        return rows


def answer_prompts(
    ids: Sequence[str],
    prompts: Sequence[Prompt],
    settings: ServedSettings,
    *,
    orders: int,
    max_length: int,
    cache_folder: Path,
    echo: Callable[[str], None],
) -> ServedAnswers:
    """Answer prompts with a model behind an endpoint.

    Args:
        ids: The ids of the prompts' items, for errors.
        prompts: The prompts, in any order; equal ones are asked once.
        settings: The settings of the rung.
        orders: The number of orders of the options to ask each prompt in.
        max_length: The most tokens of a prompt with its answer, as estimated.
        cache_folder: The folder of the answer cache.
        echo: Receives lines about the run before and after requests are sent.

    Raises:
        DataError: As for ``chatladder.endpoint.asking.ask``, or if no answer is an option.
    """
    if orders > 1:
        echo(
            f"{len(prompts):,} questions in {orders} orders of the options each: {orders} requests a question, "
            f"{orders * len(prompts):,} in all unless answered before (orders: 1 in the rung's section asks once)"
        )
    asked = [each for prompt in prompts for each in orders_of(prompt, orders)]
    job = _Answering([item_id for item_id in ids for _ in range(orders)], asked, settings, max_length)
    plan = ask(job, settings, cache_folder, echo)
    if not job.readable:
        by_name = "ask: choice holds the model to the options, where the server can"
        otherwise = by_name if job.forms == (PROBABILITIES,) else "a larger model may follow the prompt better"
        raise DataError(
            f"{settings.base_url}: none of {plan.answered:,} answers is one of the options. A model that thinks first "
            'is told not to with extra_body {"chat_template_kwargs": {"enable_thinking": false}}, or needs '
            f"max_answer_tokens in the thousands; {otherwise}. These answers are kept for these settings in "
            f"{plan.cache.path}."
        )
    if plan.answered < plan.report.texts:
        raise DataError(
            f"{settings.base_url}: stopped, for hardly an answer was one of the options. Answers are kept: run again "
            "to go on from here."
        )
    values = (tuple(plan.values[place].tolist()) for place in plan.places.tolist())
    answers = [ServedAnswer(None if np.isnan(shares[0]) else tuple(shares), seen) for *shares, seen in values]
    means = [mean_answer(answers[at : at + orders], job.forms[0]) for at in range(0, len(answers), orders)]
    return ServedAnswers(means, job.forms[0], job.shortened // orders, plan.report)


def mean_answer(answers: Sequence[ServedAnswer], form: str) -> ServedAnswer:
    """Average the answers to a prompt over the orders of its options, leaving out answers that are not an option.

    Args:
        answers: The answers, at least one.
        form: The form of their requests.
    """
    read = np.array([answer.shares for answer in answers if answer.shares])
    if not len(read):
        return UNREAD
    if form == PROBABILITIES:
        read = np.log(np.maximum(read, IMPOSSIBLE))
        means = np.exp(read.mean(axis=0))
    else:
        means = read.mean(axis=0)
    seen = sum(answer.seen for answer in answers) / len(answers)
    return ServedAnswer(tuple((means / means.sum()).tolist()), seen)


class _Answering(Job):
    """The job of answering some prompts.

    Attributes:
        shortened: The number of prompts that were shortened.
        readable: The number of answers that are an option.
    """

    unit: ClassVar = "questions"
    row_unit: ClassVar = "items"
    #: With more than two labels they keep their prefix, since a label may have the name of another column.
    columns: ClassVar = {
        **{name.removeprefix("p_") if IS_BINARY else name: "REAL" for name in CHANCES},
        "seen": "REAL NOT NULL",
    }
    one_form: ClassVar = True  # answers with probabilities and without cannot be compared
    in_words: ClassVar = {
        PROBABILITIES: "by the probabilities of its first tokens (logprobs)",
        SCHEMA: "by name (choice), held to a schema: its answers have no probabilities",
        PLAIN: "by name (choice), held to nothing: its answers have no probabilities",
    }
    unanswered: ClassVar = "got no answer"
    advice: ClassVar = (
        "most likely these are too long for the server: lower max_length, or give the server a longer context"
    )
    fewer: ClassVar = "ask fewer questions, or in fewer orders (orders: 1)"

    def __init__(
        self, ids: Sequence[str], prompts: Sequence[Prompt], settings: ServedSettings, max_length: int
    ) -> None:
        self.forms = ASKS[settings.ask]
        self.rows = len(prompts)
        self.shortened = self.readable = self._answers = 0
        self._ids, self._listed = ids, settings.top_logprobs
        drawn = settings.drawn({"logprobs", "top_logprobs"})
        self._body = settings.body(drawn)
        # The limit on tokens is part of the key, since a truncated answer is not an option.
        self._asked = [settings.base_url.rstrip("/"), settings.model, drawn, settings.max_answer_tokens, self._listed]
        self._messages = []
        for prompt in prompts:
            options = {name: prompt.options[name] for name in ANSWERS}
            text, is_shortened = message(prompt.instruction, max(options.values(), key=len), max_length)
            self._messages.append((text, options))
            self.shortened += is_shortened

    def parts(self) -> Iterator[list[tuple[str, dict[str, str]]]]:
        yield self._messages

    def prepare(self, row: tuple[str, dict[str, str]]) -> Question:
        key = sha256(json.dumps([*self._asked, *row], sort_keys=True).encode("utf-8")).digest()
        return Question(key, guess_tokens(row[0]), row)

    def body(self, question: Question, form: str, again: int) -> dict[str, Any]:
        text, options = question.content
        body = {**self._body, "messages": [{"role": "user", "content": text}]}
        if form == PROBABILITIES:
            return {**body, "logprobs": True, "top_logprobs": self._listed}
        if form == SCHEMA:
            return {**body, "response_format": response_format(NAME, "string", [*options.values()])}
        return body

    def read(self, question: Question, form: str, choice: Any) -> Values | Unread:
        if not isinstance(entry(choice, "message"), dict):
            return Unread("the reply is no chat completion", "retry")
        read = read_probabilities if form == PROBABILITIES else read_name
        answer = read(choice, question.content[1])
        if answer is None:
            if len(self.forms) > 1 or not is_blank(choice):
                return Unread(
                    "expected the probabilities of the answer's first tokens (top_logprobs), got none; this server "
                    "does not tell them. Set ask: choice in the rung's section, whose answers have no probabilities, "
                    "or serve the model with vLLM or llama.cpp.",
                    "other form",
                )
            answer = UNREAD  # nothing was generated, so there was nothing to list
        return (*(answer.shares or (None,) * len(ANSWERS)), answer.seen)

    def names(self, rows: np.ndarray) -> list[str]:
        return [*dict.fromkeys(printable(self._ids[row]) for row in rows.tolist())]

    def took(self, values: Values) -> None:
        self._answers += 1
        self.readable += values[0] is not None

    def is_hopeless(self) -> bool:
        return self._answers >= FIRST_UNREAD and not self.readable


def message(instruction: str, answer: str, max_length: int) -> tuple[str, bool]:
    """Return the message for one prompt, and True if it was shortened.

    Args:
        instruction: The filled-in template.
        answer: The longest option.
        max_length: The most tokens of the prompt with its answer; a longer prompt loses its oldest history lines, then
            the middle of the rest.
    """
    text = _OPENING.sub(lambda match: f"{match[0]} ", instruction)
    fits, shorter = text, without_oldest(text)
    while guess_tokens(fits, answer) > max_length and shorter is not None:
        fits, shorter = shorter, without_oldest(shorter)
    if (over := guess_tokens(fits, answer) - max_length) > 0:
        fits = _without_middle(fits, over * BYTES_A_TOKEN)
    return fits, fits != text


def _without_middle(text: str, less: int) -> str:
    """Return a text without ``less`` bytes in its middle, and without characters that this cuts."""
    data = text.encode("utf-8")
    left = max(0, len(data) - less)
    head, tail = data[: left // 2], data[len(data) - (left - left // 2) :]
    return head.decode("utf-8", "ignore") + tail.decode("utf-8", "ignore")
