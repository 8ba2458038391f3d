"""Asking the engine about every text of a plan that has no score, and keeping each answer as it comes.

Ray Data takes the rows from its object store, block by block, and gives them back as they are done. What comes is kept
at once under its text's key, so a run that was killed loses what was under way alone.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from chatladder.endpoint.plan import Item, Plan
from chatladder.endpoint.scoring import ASKS
from chatladder.io.console import DataError
from chatladder.judges.batch.engine import build, engine_config, template_arguments, to_table
from chatladder.judges.batch.options import BatchOptions

#: Rows of a block in Ray's object store.
BLOCK_ROWS = 1024
#: What is fetched of a model: no pickles, no code.
FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
OTHERWISE = "Or serve the model anywhere and use a judge of kind endpoint."
INSTALL = "pip install 'chatladder[ray]' 'ray[data,llm]'"


class Failed(NamedTuple):
    """What has no score after the run.

    Attributes:
        positions: Of the texts.
        why: The kind of the last error that a text was refused with; "" where none was.
    """

    positions: list[int]
    why: str


def ask_engine(plan: Plan, options: BatchOptions, missing: int) -> Failed:
    """Ask about every text without a score, and fill the scores in.

    Args:
        plan: Whose scores and report are filled in.
        options: Of the judge.
        missing: How many texts have no score.

    Raises:
        DataError: If there is no Ray, GPU or vLLM; or if the model or the engine cannot be used.
    """
    with _joined(options) as ray, tqdm(total=missing, desc=options.repo, unit=" texts", disable=None) as progress:
        folder = fetch(options.repo, options.revision)
        _look(ray, folder)
        template = template_arguments(_tokenizer(folder), options.template_arguments())
        config = engine_config(options, folder, template)
        return ask_in_batches(plan, options, lambda body: build(config, body, plan.forms[0]), ray, progress)


def ask_in_batches(
    plan: Plan, options: BatchOptions, chain: Callable[[dict[str, Any]], Callable[[Any], Any]], ray: Any, progress: Any
) -> Failed:
    """As `ask_engine`; ``chain`` makes, of a request's body, what takes a dataset of rows to one of their answers.

    Raises:
        DataError: If Ray loses the engine again and again.
    """
    why = ""
    # The likeliest tokens would be the same again.
    for again in range(ASKS if options.temperature else 1):
        rows = [ray.put(to_table(items)) for items in _blocks(plan.items(), BLOCK_ROWS)]
        if not rows:  # another process has answered them meanwhile
            break
        asked = int(np.count_nonzero(np.isnan(plan.scores)))
        plan.report.requests += asked
        plan.report.asked_again += asked if again else 0
        unread = 0
        try:
            for row in chain(plan.request(Item(0, "", b"", 0), again))(ray.data.from_arrow_refs(rows)).iter_rows():
                # A row that failed comes as it went in, past `leave`; the error's words, which may be the chat's, are
                # not told.
                if error := row.get("__inference_error__"):
                    why = str(error).partition(":")[0]
                else:
                    unread += not _keep(plan, row)
                progress.update()
        except ray.exceptions.RayTaskError:
            raise  # a bug: Ray adds the worker's traceback
        except ray.exceptions.RayError as error:
            raise DataError(
                f"{options.repo}: Ray lost the engine ({type(error).__name__}); {plan.scored:,} of "
                f"{plan.report.texts:,} texts have a score, and their answers are kept: run again to go on. If it does "
                "not start at all, lower max_model_len or gpu_memory_utilization, or raise tensor_parallel_size; why "
                "is in Ray's logs, under RAY_TMPDIR or /tmp/ray."
            ) from error
        if not unread:
            break
    return Failed(np.flatnonzero(np.isnan(plan.scores)).tolist(), why)


def fetch(repo: str, revision: str) -> Path:
    """The folder of one commit of a hub model, downloaded if it is not there.

    Raises:
        DataError: If it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{repo}@{revision}: expected a model on the hub, got: {type(error).__name__}. See that "
            "repo and revision name one, that this machine reaches the hub, and that HF_TOKEN is set if it is gated."
        ) from error


def _keep(plan: Plan, row: dict[str, Any]) -> bool:
    """Count one answer, and keep it if it is a score; whether it is."""
    plan.report.prompt_tokens += row["prompt_tokens"]
    plan.report.completion_tokens += row["completion_tokens"]
    if np.isnan(row["score"]):
        return False
    taken = (row["prompt_tokens"], row["completion_tokens"])
    plan.scores[row["position"]] = plan.cache.keep(row["key"], plan.forms[0], row["score"], *taken)
    return True


@contextmanager
def _joined(options: BatchOptions) -> Iterator[Any]:
    """Ray, with the cluster that ``RAY_ADDRESS`` names, or one on this machine until the block ends.

    Raises:
        DataError: If Ray is not there, or the cluster has not the GPUs for one copy of the model, or no vLLM.
    """
    if find_spec("ray") is None:
        raise DataError(f"a judge of kind batch needs Ray and vLLM. Run {INSTALL} on a machine with a GPU. {OTHERWISE}")
    from chatladder.distributed.ray_workers import RayWorkers

    pool = RayWorkers()
    try:
        ray = pool.join()
        from ray.data import DataContext

        for name in ("ray.data", "ray.llm"):
            logging.getLogger(name).setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        gpus = ray.cluster_resources().get("GPU", 0)
        if gpus < options.tensor_parallel_size:
            raise DataError(
                f"a judge of kind batch: expected {options.tensor_parallel_size} GPU(s) for a copy of the model, Ray "
                f"finds {gpus:g}. Run on a machine that has them, or on a cluster that does (RAY_ADDRESS). {OTHERWISE}"
            )
        _look(ray, None)
        yield ray
    finally:
        pool.stop()


def _look(ray: Any, folder: Path | None) -> None:
    """Look at a node with a GPU.

    Raises:
        DataError: If it cannot run the engine.
    """
    if wrong := ray.get(ray.remote(num_gpus=1, num_cpus=0)(what_lacks).remote(folder)):
        raise DataError(wrong)


def what_lacks(folder: Path | None) -> str:
    """On a worker: what this node lacks for the engine, and what to do; "" if it is nothing."""
    import platform

    if find_spec("vllm") is None:
        return f"{platform.node()}: vLLM is not installed. Run {INSTALL} on every node with a GPU. {OTHERWISE}"
    if folder is not None and not folder.exists():
        return (
            f"{folder}: not there on {platform.node()}. Set HF_HOME to a folder that all nodes see under the same path."
        )
    return ""


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _blocks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while some := list(islice(items, size)):
        yield some
