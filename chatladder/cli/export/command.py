r"""Export a tuned model: weights, tokenizer, and cards that state how to prompt it, how good it is and its lineage.

Example:
    chatladder export embedded_700k --out exported/embedded_700k
    chatladder export qwen2_5_0_5b --adapter-only --out exported/qwen --push me/qwen-questions

The files on disk are first compared with dvc.lock, so that a card always describes the model in its folder. Equal
inputs give equal bytes, which contain no path, user or host of this machine.
"""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatladder.cli.export.hub import DATASET, TOKEN_VARIABLE
from chatladder.cli.export.record import (
    ADAPTERS,
    ALPACA,
    BASES,
    RECORD,
    Lock,
    checked,
    lineage,
    locked_settings,
    locked_training,
    read_metrics,
)
from chatladder.io.console import NOTHING_KEPT, SETTINGS, DataError, OutputFolder, example, stoppable
from chatladder.io.rows import SPLITS
from chatladder.vocabulary import TASK

if TYPE_CHECKING:
    from chatladder.cli.export.card import Facts

LOCK = Path("dvc.lock")
#: Rows of the test split that the written model must answer as the adapter does.
CHECKED = 16
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def gather(rung: str, license_id: str | None) -> "Facts":
    """Return the data of the cards.

    Args:
        rung: Key of the ladder.
        license_id: The licence, in place of the one in the base's files.

    Raises:
        DataError: If the record, the metrics and the files do not belong together.
    """
    from chatladder.cli.export.card import Facts, license_of
    from chatladder.cli.export.merging import check_adapter
    from chatladder.models.loading import read_rung

    base = BASES / rung
    check_adapter(ADAPTERS / rung, base)
    lock = Lock(LOCK)
    origin = lineage(lock, rung)
    metrics = read_metrics(lock, rung)
    described = read_rung(base)
    return Facts(
        rung=rung,
        base=described,
        license=license_id or license_of(base, described),
        settings=checked(locked_settings(lock, rung), str(LOCK)),
        training=locked_training(lock, rung),
        annotation=metrics["annotation"] or {},
        models=metrics["models"],
        scaling=metrics["scaling"],
        lineage=origin,
    )


@stoppable(NOTHING_KEPT)
def export(out: Path, facts: "Facts", *, adapter_only: bool, with_data: bool) -> None:
    """Write the folder, whole or not at all.

    Raises:
        DataError: If the merged model answers differently from the adapter, or the folder cannot be written.
    """
    from dataclasses import asdict

    from chatladder.cli.export.card import dataset_card, model_card
    from chatladder.cli.export.llama_cpp import FILE, write_gguf
    from chatladder.cli.export.merging import has_chat_template, stored_dtype, write_adapter, write_merged
    from chatladder.io.files import whole_folder, write_json
    from chatladder.models.prompts import Prompt, read_alpaca

    base, adapter, settings = BASES / facts.rung, ADAPTERS / facts.rung, facts.settings
    rows = {split: read_alpaca(ALPACA / f"{split}.json") for split in SPLITS}
    with whole_folder(out) as folder:
        if adapter_only:
            write_adapter(adapter, base, folder)
        else:
            held_out = (rows["test"] or rows["validation"] or rows["train"])[:CHECKED]
            prompts = [Prompt(row["instruction"], row["options"]) for row in held_out]
            write_merged(base, adapter, folder, prompts, settings.max_length)
            write_adapter(adapter, base, folder / "adapter")
        no_gguf = write_gguf(adapter, base, folder / ("" if adapter_only else "adapter") / FILE)
        dtype = str(stored_dtype(base)).removeprefix("torch.")
        card = model_card(
            facts,
            adapter_only=adapter_only,
            dtype=dtype,
            chat_template=has_chat_template(base),
            no_gguf=no_gguf,
        )
        (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
        write_json(
            folder / RECORD,
            {"rung": facts.rung, "task": TASK.name, "settings": asdict(settings), "lineage": facts.lineage},
        )
        if with_data:
            card = dataset_card(facts, {split: len(part) for split, part in rows.items()})
            (folder / DATASET).mkdir()
            for split in rows:
                shutil.copyfile(ALPACA / f"{split}.json", folder / DATASET / f"{split}.json")
            (folder / DATASET / "README.md").write_text(card, encoding="utf-8", newline="\n")


def _repo(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _REPO.fullmatch(value):
        raise click.BadParameter(f"expected OWNER/NAME, got {value!r}.")
    return value


@click.command(name="export", context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("rung")
@click.option("--out", type=OutputFolder, required=True, help="Folder to write; it must not exist.")
@click.option("--adapter-only", is_flag=True, help="The adapter alone, for whoever has the base.")
@click.option("--with-data", is_flag=True, help="The alpaca rows too, under dataset/. They hold text of the chat.")
@click.option(
    "--push",
    callback=_repo,
    metavar="OWNER/NAME",
    help=f"Upload the model to a private repository; {TOKEN_VARIABLE} holds the token.",
)
@click.option("--license", "license_id", help="Licence of the model as the hub spells it, such as apache-2.0.")
def export_command(
    rung: str, out: Path, adapter_only: bool, with_data: bool, push: str | None, license_id: str | None
) -> None:
    """Write the tuned model of RUNG as a folder that transformers, peft and the hub read.

    Nothing leaves this machine without --push, and the rows of --with-data never do.
    """
    from chatladder.cli.export import hub

    if out.exists():
        raise DataError(f"{out}: expected no such folder yet, got one. Remove it, or choose another --out.")
    secret = hub.token() if push else ""
    export(out, gather(rung, license_id), adapter_only=adapter_only, with_data=with_data)
    written = "adapter" if adapter_only else "merged model and adapter"
    note = "; dataset/ holds text of the chat" if with_data else ""
    click.echo(f"{out}: {written} of {rung}{note}")
    if push:
        hub.push(out, push, secret)
        click.echo(f"https://huggingface.co/{push}: uploaded")


if __name__ == "__main__":
    export_command()
