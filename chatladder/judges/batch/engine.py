"""What Ray Data is told: the engine, what goes into it about a text, and what comes out.

A processor of ``ray.data.llm`` is a chain over a dataset: a row of ours becomes messages and how to answer them
(`enter`); Ray's stages write them with the model's chat template, tokenize, generate by vLLM and turn tokens into text;
`leave` reads a score or nothing out of that. Rows may come back in any order, so each carries its text's place and key.

Sources:
    docs.ray.io/en/latest/data/working-with-llms.html, and ``ray/llm/_internal/batch`` of Ray 2.60;
    docs.vllm.ai/en/latest/features/structured_outputs (``structured_outputs`` of the sampling params).
"""

import json
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from chatladder.endpoint.options import SCHEMA_FORM
from chatladder.endpoint.plan import Item
from chatladder.endpoint.prompt import SCORE_FORMAT, parse_score
from chatladder.io.console import DataError
from chatladder.judges.batch.options import BatchOptions

if TYPE_CHECKING:
    from ray.data.llm import Processor, vLLMEngineProcessorConfig
    from transformers import PreTrainedTokenizerBase

#: Rows that go to the engine: of one text each.
ROWS = pa.schema(
    [("position", pa.int64()), ("key", pa.binary()), ("message", pa.string()), ("tokens", pa.int64())]  # see Item
)
#: No reports about the run to vLLM's makers, and no look at the hub for what lies here already.
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
_SCHEMA = json.dumps(SCORE_FORMAT["json_schema"]["schema"])


def engine_config(options: BatchOptions, folder: Path, template: dict[str, Any]) -> "vLLMEngineProcessorConfig":
    """The engine as Ray's own class takes it, and checks it.

    Args:
        options: Of the judge.
        folder: That holds the model, under the same path on every node with a GPU.
        template: Arguments of the chat template.

    Raises:
        DataError: If Ray refuses it.
    """
    from pydantic import ValidationError
    from ray.data.llm import ChatTemplateStageConfig, vLLMEngineProcessorConfig

    try:
        return vLLMEngineProcessorConfig(
            model_source=str(folder),
            engine_kwargs={
                "dtype": options.dtype,
                "max_model_len": options.max_model_len,
                "tensor_parallel_size": options.tensor_parallel_size,
                "gpu_memory_utilization": options.gpu_memory_utilization,
                # The task is the same for every text: it is computed once.
                "enable_prefix_caching": True,
                # Neither code nor pickles of a repository are ever run.
                "trust_remote_code": False,
                "load_format": "safetensors",
            },
            batch_size=options.batch_size,
            concurrency=options.replicas,
            chat_template_stage=ChatTemplateStageConfig(chat_template_kwargs=template),
            # A text that cannot be answered is named at the end; the others are not lost for it.
            should_continue_on_error=True,
            log_engine_metrics=False,
            runtime_env={"env_vars": ENVIRONMENT},
        )
    except ValidationError as error:
        # Not pydantic's own words: they hold the whole input.
        names = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise DataError(f"ray.data.llm refuses the options of this judge: {names}.") from error


def build(config: "vLLMEngineProcessorConfig", body: dict[str, Any], form: str) -> "Processor":
    """The chain of stages; see `enter` for ``body`` and ``form``."""
    from ray.data.llm import build_processor

    # It joins a cluster in any case, which says so and turns Ray's talk on again.
    disabled, talk = logging.root.manager.disable, logging.getLogger("ray").level
    logging.disable(logging.WARNING)
    try:
        return build_processor(config, preprocess=partial(enter, body=body, form=form), postprocess=leave)
    finally:
        logging.disable(disabled)
        logging.getLogger("ray").setLevel(talk)


def enter(row: dict[str, Any], *, body: dict[str, Any], form: str) -> dict[str, Any]:
    """What the engine gets about one text.

    Args:
        row: Of `ROWS`.
        body: Of a request to an endpoint with an empty message, see `chatladder.endpoint.plan.Plan.request`.
        form: In which the answer is asked for.

    Returns:
        ``messages``, and ``sampling_params`` by vLLM's names.
    """
    task = [message for message in body["messages"] if message["role"] != "user"]
    sampling: dict[str, Any] = {name: body[name] for name in ("temperature", "seed", "max_tokens") if name in body}
    sampling["detokenize"] = False  # Ray's last stage does
    if form == SCHEMA_FORM:
        # As text: Arrow would make a table of the schema.
        sampling["structured_outputs"] = {"json": _SCHEMA}
    return {"messages": [*task, {"role": "user", "content": row["message"]}], "sampling_params": sampling}


def leave(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one answer: ``position``, ``key``, ``score`` (NaN where it is none) and the tokens it took."""
    score = parse_score(row["generated_text"])
    return {
        "position": int(row["position"]),
        "key": row["key"],
        "score": float("nan") if score is None else score,
        "prompt_tokens": int(row["num_input_tokens"]),
        "completion_tokens": int(row["num_generated_tokens"]),
    }


def to_table(items: list[Item]) -> pa.Table:
    """Rows of `ROWS`."""
    return pa.Table.from_pylist([item._asdict() for item in items], schema=ROWS)


def template_arguments(tokenizer: "PreTrainedTokenizerBase", given: dict[str, Any]) -> dict[str, Any]:
    """Arguments with which Ray's two stages come to the very tokens that the chat template stands for.

    The first writes a prompt as text, the second tokenizes that as it would any text. A tokenizer that begins every
    text with a token of its own then has it twice, since the template writes it as well; so the template is told
    that there is none.

    Args:
        tokenizer: Of the model.
        given: What the template gets in any case.

    Raises:
        DataError: If it has no template, or one that does not take a task beside a message, or that comes to other
            tokens either way.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise DataError("this model has no chat template: it was not trained to be asked. Use one that was.")
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    write = partial(tokenizer.apply_chat_template, messages, add_generation_prompt=True)
    try:
        meant = write(tokenize=True, return_dict=False, **given)
        for arguments in (given, {**given, "bos_token": ""}):
            if tokenizer(write(tokenize=False, **arguments))["input_ids"] == meant:
                return arguments
    except TemplateError as error:
        raise DataError(
            "this model's chat template does not take a system message before a user's. Use another model."
        ) from error
    raise DataError(
        "Ray would tokenize this model's prompts otherwise than its chat template does. Serve it with vllm serve and "
        "use a judge of kind endpoint."
    )
