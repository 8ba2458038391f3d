"""A tuned model that answers and rewrites questions, for ``resolve`` and ``serve`` alike.

The model is a rung's base with its adapter, or a folder that ``export`` wrote; it is loaded once. Its training settings
are recorded in ``dvc.lock``, or in the folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from chatladder.cli.costs import cost_threshold
from chatladder.cli.export.record import REQUIRED, Lock, Settings, checked, exported_settings, locked_settings
from chatladder.io.console import DataError, InputFolder, OutputFile, OutputFolder
from chatladder.io.options import setting
from chatladder.models.prompts import render_rewrite, render_row, rewrite_read
from chatladder.privacy.secret import local_key
from chatladder.vocabulary import ANSWERS, IS_BINARY, POSITIVE, likeliest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: The key of pseudonyms that never leave the process.
PASSING_KEY = "chatladder resolve: pseudonyms that nobody sees"
#: The name of the adapter that rewrites questions; that of the gate is peft's "default".
WRITER = "writer"
#: Decimal places of a probability; further ones depend on the batch of the prompt.
DIGITS = 5


@dataclass(frozen=True)
class ModelOptions:
    """The paths of a model and its record, and the costs of its mistakes."""

    folder: Path | None = setting(
        "Or a folder that chatladder export wrote.", default=None, type=InputFolder, names=("--model",)
    )
    bases: Path = setting("Folder of the rungs' bases.", default=Path("data/bases"), type=OutputFolder)
    adapters: Path = setting("Folder of the rungs' adapters.", default=Path("data/adapters"), type=OutputFolder)
    rewriters: Path = setting(
        "Folder of the adapters that write questions out, if there are any.",
        default=Path("data/rewriters"),
        type=OutputFolder,
    )
    lock: Path = setting("Record of the pipeline's runs.", default=Path("dvc.lock"), type=OutputFile)
    cost_missed: float | None = setting(
        'Cost of missing the positive label, such as "needed"; with --cost-needless it sets the threshold.',
        default=None,
        above=0,
    )
    cost_needless: float | None = setting("Cost of the opposite mistake.", default=None, above=0)


class Answer(NamedTuple):
    """True if a question needs its history, the model's probability of that, and the question's rewrite.

    The rewrite is None if the history is not needed, or no model was trained to write.
    """

    needed: bool
    p_needed: float
    rewritten: str | None = None


class Choice(NamedTuple):
    """The answer in a task of more than two labels: the most probable label, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class Gate(NamedTuple):
    """A model and its settings; with an adapter called ``WRITER`` it also rewrites questions that need history."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    settings: Settings

    @property
    def writes(self) -> bool:
        """True if it rewrites questions."""
        return WRITER in getattr(self.model, "peft_config", ())

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Answer], int]:
        """Answer some rows of QUESTIONS in one batch; also return the number of prompts that were shortened."""
        shares, shortened = self._shares(rows)
        names = named(shares, self.settings.threshold)
        written = iter(self._write([row for row, name in zip(rows, names, strict=True) if name == POSITIVE]))
        pairs = zip(names, shares[:, ANSWERS.index(POSITIVE)].tolist(), strict=True)
        return [
            Answer(name == POSITIVE, round(share, DIGITS), next(written) if name == POSITIVE else None)
            for name, share in pairs
        ], shortened

    def choose(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Choice], int]:
        """Do the same for a task of more than two labels."""
        shares, shortened = self._shares(rows)
        return [
            Choice(likeliest(row), {name: round(share, DIGITS) for name, share in zip(ANSWERS, row, strict=True)})
            for row in shares.tolist()
        ], shortened

    def _shares(self, rows: Sequence[Mapping[str, Any]]) -> "tuple[NDArray[np.float64], int]":
        from chatladder.models.scoring import probabilities, score

        settings = self.settings
        prompts = [render_row(row, settings.prompt) for row in rows]
        scores, shortened = score(self.model, self.tokenizer, prompts, settings.max_length, settings.orders)
        return probabilities(scores), shortened

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
        """Rewrite some rows of QUESTIONS."""
        if not rows or not self.writes:
            return [None] * len(rows)
        from chatladder.models.generating import generate

        language, adapted = self.settings.language, cast("Any", self.model)
        prompts = [render_rewrite(row, language) for row in rows]
        adapted.set_adapter(WRITER)
        try:
            part = generate(self.model, self.tokenizer, prompts, self.settings.max_length)
        finally:
            adapted.set_adapter("default")
        texts = dict(zip(part.indices, part.texts, strict=True))
        return [rewrite_read(row, texts[number], language) for number, row in enumerate(rows)]


def named(shares: "NDArray[np.float64]", threshold: float | None) -> list[str]:
    """Return answers as evaluate decides them: at a threshold, or without one the most probable option.

    Args:
        shares: Probability of each answer, shape (n, answers), columns as ``ANSWERS``.
        threshold: The log-odds above which the answer is "needed".
    """
    if threshold is None:
        return [likeliest(row) for row in shares.tolist()]
    from chatladder.evaluation.predictions import log_odds_of
    from chatladder.evaluation.threshold import answers_at

    needed, not_needed, unknown = shares.T
    return [ANSWERS[code] for code in answers_at(log_odds_of(needed, not_needed), unknown, threshold)]


def settings_of(rung: str | None, options: ModelOptions, given: Mapping[str, Any]) -> Settings:
    """Return the model's training settings, overridden by given ones; print how its answers are decided.

    Args:
        rung: Key of the ladder; None for the exported folder of the options.
        options: The command's options.
        given: Settings that override the recorded ones.

    Raises:
        click.UsageError: If a setting is neither recorded nor given, or options conflict with each other or the task.
        DataError: If the record is damaged, or no threshold follows from the costs.
    """
    folder, lock = options.folder, options.lock
    costs = [options.cost_missed, options.cost_needless]
    if not IS_BINARY and (costs != [None, None] or "threshold" in given):
        raise click.UsageError("a threshold, or costs that set one, is for a task of two labels; this one has more.")
    if costs != [None, None] and (None in costs or "threshold" in given or rung is None):
        raise click.UsageError("--cost-missed and --cost-needless go together, with a rung and without --threshold.")
    recorded: dict[str, Any] = {}
    if any(name not in given for name in REQUIRED):
        if folder is not None:
            recorded = exported_settings(folder)
        elif lock.is_file():
            recorded = locked_settings(Lock(lock), str(rung))
    recorded.update(given)
    missing = ["--" + name.replace("_", "-") for name in REQUIRED if name not in recorded]
    if missing:
        place = folder if folder is not None else lock
        raise click.UsageError(f"{place} does not say what the model was trained with; give {', '.join(missing)}.")
    settings = checked(recorded, str(folder if folder is not None else lock))
    if options.cost_missed and options.cost_needless and rung is not None:
        threshold, line = cost_threshold(Lock(lock), rung, options.cost_missed, options.cost_needless)
        click.echo(line, err=True)
        return replace(settings, threshold=threshold)
    if settings.threshold is None and IS_BINARY:
        click.echo("No threshold is on record, so an answer is the most probable option.", err=True)
    return settings


def load_model(rung: str | None, options: ModelOptions) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load the model and tokenizer of a rung with its adapter, or of an exported folder.

    If the rung has an adapter that rewrites questions, it is loaded too.

    Raises:
        DataError: If the model cannot be loaded.
    """
    from chatladder.cli.export.merging import check_adapter, load_folder
    from chatladder.models.loading import add_adapter, load

    folder = options.folder
    if folder is None:
        base, adapter, writer = (each / str(rung) for each in (options.bases, options.adapters, options.rewriters))
        check_adapter(adapter, base)
        model, tokenizer = load(base, adapter)
        if writer.is_dir():
            if not hasattr(model, "peft_config"):
                raise DataError(
                    f"{writer}: expected a rung with an adapter beside it, got one whose weights were all trained. Set "
                    "method: lora in the rung's train section, or move the folder away."
                )
            add_adapter(model, writer, WRITER)
        return model, tokenizer
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder}: expected a merged model that chatladder export wrote, got no config.json. An adapter alone is "
            "applied to its base, by its rung."
        )
    return load_folder(folder)


def passing_key() -> str:
    """Return the local secret, or a passing key, for pseudonyms that nobody will see."""
    return local_key() or PASSING_KEY
