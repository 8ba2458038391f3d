"""What may be set of a judge that runs in batches, and how a command is given it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from chatladder.endpoint.command import pick, with_options
from chatladder.endpoint.options import EndpointOptions
from chatladder.endpoint.plan import extra_fields
from chatladder.io.console import DataError

_COMMIT = re.compile(r"[0-9a-f]{40}")
#: The one field of ``extra_body`` that says what the model is asked; a server's other fields have no place here.
TEMPLATE_FIELD = "chat_template_kwargs"
#: As vLLM calls them; ``auto`` is the checkpoint's own.
DTYPES = ("auto", "bfloat16", "float16", "float32")


class BatchOptions(NamedTuple):
    """Everything that a judge's section of params.yaml may set.

    Attributes:
        repo: Of the model on the hub.
        revision: Its commit, 40 hexadecimal digits.
        prompt: Text file with the task.
        structured: One of `chatladder.endpoint.options.STRUCTURED`; vLLM can, so ``auto`` is ``always``.
        max_answer_tokens: Of one answer, thoughts included.
        max_characters: Of one text; a longer one loses its middle.
        temperature: 0 takes the likeliest token each time.
        seed: Of each answer's draws; None for none.
        extra_body: A JSON object with arguments of the chat template under `TEMPLATE_FIELD`; "" for none.
        dtype: One of `DTYPES`.
        max_model_len: Tokens of prompt and answer that one GPU's memory is laid out for.
        tensor_parallel_size: GPUs that share one copy of the model.
        gpu_memory_utilization: Share of a GPU's memory that is the engine's.
        replicas: Copies of the model, at most.
        batch_size: Texts that go to a copy together.
    """

    repo: str
    revision: str
    prompt: Path
    structured: str
    max_answer_tokens: int
    max_characters: int
    temperature: float
    seed: int | None
    extra_body: str
    dtype: str
    max_model_len: int
    tensor_parallel_size: int
    gpu_memory_utilization: float
    replicas: int
    batch_size: int

    def template_arguments(self) -> dict[str, Any]:
        """What the chat template is given.

        Raises:
            DataError: If ``extra_body`` is not what it must be.
        """
        fields = extra_fields(self.extra_body)
        arguments = fields.pop(TEMPLATE_FIELD, {})
        if fields or not isinstance(arguments, dict):
            raise DataError(
                f'extra_body: expected {{"{TEMPLATE_FIELD}": {{...}}}} of a judge of kind batch, and nothing beside it.'
            )
        return arguments

    def asked(self) -> EndpointOptions:
        """What is asked, and of whom, as the plan of an endpoint has it: answers are kept under a key of this.

        The engine's limits are not in it: they change whether an answer comes, not what it says.

        Raises:
            DataError: If the revision is no commit, or ``extra_body`` is not what it must be.
        """
        if not _COMMIT.fullmatch(self.revision):
            raise DataError(
                f"revision: expected a commit of 40 hexadecimal digits, got {self.revision!a}. A branch or tag can "
                f"move; copy the commit from https://huggingface.co/{self.repo}/commits/main."
            )
        chosen = {TEMPLATE_FIELD: self.template_arguments(), "dtype": self.dtype}
        return EndpointOptions(
            base_url="vllm",
            model=f"{self.repo}@{self.revision}",
            prompt=self.prompt,
            key_variable="",
            structured=self.structured,
            answer_limit="max_tokens",
            max_answer_tokens=self.max_answer_tokens,
            max_characters=self.max_characters,
            temperature=self.temperature,
            seed=self.seed,
            extra_body=json.dumps(chosen),
            concurrency=self.replicas,
            requests_per_minute=0,
            tokens_per_minute=0,
            max_requests=0,
            max_tokens=0,
            timeout=0.0,
            max_retries=0,
        )


#: What a judge behind an endpoint has no option for.
_OPTIONS = (
    click.option("--repo", help="Batch: the model on the hub."),
    click.option("--revision", help="Batch: its commit, 40 hexadecimal digits."),
    click.option("--dtype", type=click.Choice(DTYPES), help="Batch: what the model computes in."),
    click.option("--max-model-len", type=click.IntRange(1), help="Batch: tokens of a prompt and its answer."),
    click.option("--tensor-parallel-size", type=click.IntRange(1), help="Batch: GPUs of one copy of the model."),
    click.option(
        "--gpu-memory-utilization",
        type=click.FloatRange(0, 1, min_open=True),
        help="Batch: share of a GPU's memory that is the engine's.",
    ),
    click.option("--replicas", type=click.IntRange(1), help="Batch: copies of the model, at most."),
    click.option("--batch-size", type=click.IntRange(1), help="Batch: texts that go to a copy together."),
)


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that a judge of kind batch has beside those of an endpoint; none is required."""
    return with_options(command, _OPTIONS)


def gather(given: dict[str, Any]) -> BatchOptions:
    """The options that were given, as the judge takes them.

    Raises:
        click.UsageError: If one is missing that must be there.
    """
    values = pick(given, BatchOptions._fields, "a judge of kind batch")
    if values["temperature"] is None:
        raise click.UsageError("a judge of kind batch needs --temperature too.")
    return BatchOptions(**values)
