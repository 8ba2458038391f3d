"""The model card and the dataset card: a model's purpose, prompt, results and lineage.

The front matter is the hub's (https://huggingface.co/docs/hub/model-cards); ``huggingface_hub`` writes it.
"""

from collections.abc import Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.cli.export.record import Settings
from chatladder.evaluation.above import BASELINES, not_above
from chatladder.evaluation.scores import METRICS
from chatladder.evaluation.threshold import ARGMAX
from chatladder.io.console import DataError
from chatladder.models.prompts import LETTERS, LINE_BREAK, SEPARATOR, SPEAKERS, wording_of
from chatladder.vocabulary import IS_BINARY, KINDS, NEGATIVE, POSITIVE, SCORED, TASK

#: Metrics of the table, in tasks that have them, and their names.
SHOWN = {
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
}
#: Fields of ``rung.json`` that are of use on other machines; never a path.
_FACTS = ("source", "repo", "revision", "package", "package_version", "gguf_sha256", "params")


class Facts(NamedTuple):
    """The data of the cards."""

    rung: str
    base: dict[str, Any]  # rung.json
    license: str | None
    settings: Settings
    training: dict[str, Any]  # settings of stages.train
    annotation: dict[str, Any]  # metrics of label
    models: dict[str, Any] | None  # metrics of evaluate; None if they were not measured
    scaling: dict[str, Any] | None  # metrics of check_scaling
    lineage: dict[str, Any]


def model_card(facts: Facts, *, adapter_only: bool, dtype: str, chat_template: bool, no_gguf: str | None) -> str:
    """Return the README.md of a model, in Markdown.

    Args:
        facts: The data of the card.
        adapter_only: True if the folder holds the adapter alone.
        dtype: The dtype of the merged weights.
        chat_template: True if prompts are formatted with the tokenizer's chat template.
        no_gguf: The reason why there is no file of the adapter for llama.cpp; None if there is one.

    Raises:
        DataError: If a metrics file lacks a figure.
    """
    settings = facts.settings
    wording = wording_of(settings.wording, settings.language)
    return _render(
        "model_card.md",
        facts,
        front_matter=_model_front_matter(facts, adapter_only),
        base={"text": base_text(facts.base), "facts": [(n, facts.base[n]) for n in _FACTS if n in facts.base]},
        adapter_only=adapter_only,
        dtype=dtype,
        chat_template=chat_template,
        no_gguf=no_gguf,
        separator=SEPARATOR,
        line_break=LINE_BREAK,
        speaker=SPEAKERS[settings.language].format(1).strip(),
        template=wording.text,
        options=list(wording.options.items()),
        letters=LETTERS if settings.answer == "lettered" else (),
        results=_results(facts.models, facts.rung),
        gate=gate_text(facts.scaling),
    )


def dataset_card(facts: Facts, splits: dict[str, int]) -> str:
    """Return the README.md of the alpaca rows, in Markdown."""
    from huggingface_hub import DatasetCardData

    files = [{"split": split, "path": f"{split}.json"} for split, rows in splits.items() if rows]
    data = DatasetCardData(
        language=facts.settings.language,
        task_categories=["text-classification"],
        configs=[{"config_name": "default", "data_files": files}],
    )
    return _render("dataset_card.md", facts, front_matter=f"---\n{data.to_yaml()}\n---", splits=list(splits.items()))


def license_of(base: Path, rung: dict[str, Any]) -> str | None:
    """Return the licence that the base's own files state, as the hub spells it; None if they state none.

    An embedded model is trained by this package from texts of its own, and has this package's licence.
    """
    if rung["source"] == "embedded":
        stated = metadata("chatladder").json.get("license_expression")
        return stated.lower() if isinstance(stated, str) else None
    from huggingface_hub import ModelCard

    for folder in (base, Path(rung["path"]) if "path" in rung else base):
        if (folder / "README.md").is_file():
            try:
                stated = ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data.license
            except (OSError, ValueError):
                continue
            if isinstance(stated, str):
                return stated
    return None


def base_text(rung: dict[str, Any]) -> str:
    """Describe the base in a few words."""
    if rung["source"] == "embedded":
        return f"the embedded model `{rung['name']}`, which chatladder trains on generated dialogues"
    named = rung.get("repo") or rung.get("package") or rung["name"]
    return f"the base model `{named}`"


def labels_text(annotation: dict[str, Any]) -> str:
    """Describe the basis of the labels, without anybody's name."""
    try:
        sentences = [
            f"{_listed(annotation)}, after {annotation['round']} "
            f"round(s) of {len(annotation['annotators'])} annotator(s); {annotation['disagreed']} questions on which "
            "they disagreed have no label."
        ]
        for number, each in annotation["rounds"].items():
            figures = [f"{name} {_figure(each[name])}" for name in ("kappa", "alpha") if name in each]
            sentences.append(f"Agreement on {each['items']} questions of round {number}: {', '.join(figures)}.")
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError("metrics of label: expected rounds, annotators and counts. Run dvc repro label.") from error
    return " ".join(sentences)


def gate_text(scaling: dict[str, Any] | None) -> str:
    """State the gate's verdict on the labels."""
    if scaling is None:
        return "The labels were not checked by the scaling law."
    return (
        f"The check of the labels by the scaling law (does AUROC grow with the size of untouched models?): "
        f"**{scaling.get('gate', 'not measured')}**, by {scaling.get('models', 0)} models of "
        f"{scaling.get('rungs', 0)} rungs."
    )


def _model_front_matter(facts: Facts, adapter_only: bool) -> str:
    from huggingface_hub import ModelCardData

    # The id of a hub model links the card to it; any other base is named in the text alone.
    linked = {"base_model": facts.base["repo"]} if "repo" in facts.base else {}
    if linked:
        linked["base_model_relation"] = "adapter" if adapter_only else "finetune"
    data = ModelCardData(
        language=facts.settings.language,
        library_name="peft" if adapter_only else "transformers",
        license=facts.license,
        pipeline_tag="text-generation",
        tags=["chatladder", "lora", "group-chat"],
        **linked,
    )
    return f"---\n{data.to_yaml()}\n---"


def _results(models: dict[str, Any] | None, rung: str) -> dict[str, Any] | None:
    if models is None or rung not in models:
        return None
    try:
        rows = [
            (
                name,
                *(_interval(models[rung][kind], metric) for kind in ("vanilla", "tuned")),
                _figure(models["floor"][metric]),
            )
            for metric, name in SHOWN.items()
            if metric in METRICS
        ]
        return {
            "count": models["test_items"],
            "labels": _tested(models),
            "seeds": models[rung]["tuned"].get("seeds", 1),
            "argmax": models[rung]["tuned"].get(ARGMAX),
            "not_above": not_above(models[rung]),
            "rows": rows,
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"metrics of evaluate: expected {error} of {rung}. Run dvc repro evaluate.") from error


def _tested(models: dict[str, Any]) -> str:
    return f"{models['test_needed']} of them {KINDS[POSITIVE].words}" if IS_BINARY else _listed(models["test_labels"])


def _listed(counts: Mapping[str, int]) -> str:
    """Return counts of labels in words."""
    *most, last = (f"{counts[name]} {KINDS[name].words}" for name in SCORED)
    return f"{', '.join(most)} and {last}"


def _interval(values: dict[str, float | None], metric: str) -> str:
    low, high = values[f"{metric}_lo"], values[f"{metric}_hi"]
    if low is None:
        return _figure(values[metric])
    return f"{_figure(values[metric])} [{_figure(low)}, {_figure(high)}]"


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _lineage_rows(lineage: dict[str, Any]) -> list[tuple[str, str]]:
    commit = lineage["git_commit"] or "outside of git"
    if lineage["uncommitted_changes"]:
        commit += ", with changes that were not committed"
    md5 = [(f"{name} (MD5 in dvc.lock)", f"`{value or 'not recorded'}`") for name, value in lineage["dvc"].items()]
    return [("git commit", commit), *md5, ("chatladder", lineage["chatladder"])]


def _render(name: str, facts: Facts, **values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    # Markdown is not HTML, and no value comes from the chat.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    source = (Path(__file__).parent / name).read_text(encoding="utf-8")
    texts = {"labels": labels_text(facts.annotation), "lineage": _lineage_rows(facts.lineage)}
    return environment.from_string(source).render(
        facts._asdict()
        | texts
        | values
        | {"positive": KINDS[POSITIVE], "negative": KINDS[NEGATIVE], "task": TASK, "floor": BASELINES["floor"]}
    )
