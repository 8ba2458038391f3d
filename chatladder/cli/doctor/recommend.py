"""Recommend models of the catalogues that suit a chat's language and a machine, with the time that they take."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatladder.cli.doctor.duration import Duration, Workload, duration, section, show_duration, workload_of
from chatladder.cli.doctor.memory import Machine, MemoryNeed, facts_of, need, show_bytes, show_count, training_of
from chatladder.models.devices import QUANTIZED
from chatladder.presets import CHAT_LANGUAGES, EMBEDDED, Catalogue, names, read

#: The name that commands take in place of a catalogue's, for the models that suit the chat and the machine.
RECOMMENDED = "recommended"
#: The catalogues for a chat in each language, the preferred first. None of them is the embedded one.
FOR_LANGUAGE = {"zh": ("qwen2_5", "qwen3"), "en": ("qwen2_5", "smollm2"), "other": ("qwen3", "qwen2_5")}
LANGUAGE_NAMES = {"zh": "Chinese", "en": "English", "other": "another language"}
#: The fewest rungs that have a slope.
FEWEST_RUNGS = 3
#: The longest run to recommend, of all rungs together, in seconds. A second size can be added once the first is useful.
LONGEST = 2 * 3600.0
#: The warning if the embedded ladder is chosen by name.
FOR_THE_DEMO = (
    "embedded is for the demo: its models know only that invented Chinese chat, but answer a real chat all the same. "
    f'For your own chat: "chatladder ladder {RECOMMENDED}".'
)
_BASES = Path("data/bases")


@dataclass(frozen=True)
class Recommendation:
    """The recommended models.

    Attributes:
        catalogue: Their catalogue, with these rungs alone and settings by which they fit.
        language: The language of the chat.
        facts: The known facts about their models, by key.
        work: The work of the run, with the catalogue's settings.
        durations: The time of each, by key; None if the machine's speed is not known.
        larger: The next larger rung and why it is not among them; empty if there is none.
        runs: True if they run on the machine; else the smallest rung is given, and ``larger`` says why it does not run.
    """

    catalogue: Catalogue
    language: str
    facts: Mapping[str, MemoryNeed]
    work: Workload
    durations: Mapping[str, Duration | None]
    larger: str
    runs: bool

    @property
    def total(self) -> float:
        """Seconds of the whole run; 0 if no time is known."""
        return sum(each.total for each in self.durations.values() if each)


def recommend(language: str, machine: Machine, params: Mapping[str, Any], data: Path | None = None) -> Recommendation:
    """Return the models for a chat: those of the first catalogue of its language that runs here within ``LONGEST``.

    A catalogue contributes the rungs that fit, smallest first, as long as their run ends within that time. If even the
    smallest rung of each takes longer, it is the quickest.

    Args:
        language: One of ``CHAT_LANGUAGES``.
        machine: The machine to run on.
        params: The sections of params.yaml; a catalogue's own values take precedence.
        data: The project's folder ``data``, with the questions and labels to count; None if there is none yet.
    """
    candidates = [_chosen(read(name), language, machine, params, data) for name in FOR_LANGUAGE[language]]
    here = [each for each in candidates if each.runs] or candidates
    quick = (each for each in here if each.total <= LONGEST)
    return next(quick, None) or min(here, key=lambda each: each.total)


def _chosen(
    catalogue: Catalogue, language: str, machine: Machine, params: Mapping[str, Any], data: Path | None
) -> Recommendation:
    shared = {
        name: {**section(params, name), **value} if isinstance(value, Mapping) else value
        for name, value in catalogue.params.items()
    }
    work = workload_of({**params, **shared}, data)
    rungs, facts, larger = fitted(catalogue, machine)
    runs = bool(rungs)
    rungs = rungs or {key: catalogue.rungs[key] for key in [*catalogue.rungs][:1]}
    keys, train = [*rungs], catalogue.params["train"]
    for count in range(len(keys), 0, -1):
        some = {key: rungs[key] for key in keys[:count]}
        times = durations_of(some, facts, (), train, work, machine)
        known = {key: facts[key] for key in some}
        advice = Recommendation(replace(catalogue, rungs=some), language, known, work, times, larger, runs)
        if advice.total <= LONGEST or count == 1:
            too_long = (
                f"{keys[count]}: the whole run would take more than {LONGEST / 3600:.0f} h" if keys[count:] else ""
            )
            return replace(advice, larger=too_long or larger)
    raise AssertionError("the smallest rung alone is always taken")


def fitted(catalogue: Catalogue, machine: Machine) -> tuple[dict[str, Any], dict[str, MemoryNeed], str]:
    """Return the rungs that a machine has memory and disk for, with the settings that make them fit.

    The settings change memory and not the result; only 4 bits, which need a GPU, change the model.

    Returns:
        The rungs by key; what is known of all models; and the key of the first that does not fit, with the reason.
    """
    length, train = int(catalogue.params["max_length"]), catalogue.params["train"]
    facts = {key: facts_of(key, rung["base"], _BASES) for key, rung in catalogue.rungs.items()}
    rungs: dict[str, Any] = {}
    room, larger = machine.disk, ""
    for key, rung in catalogue.rungs.items():
        reasons: Sequence[str] = ()
        for changed in _variants(rung, int(train["tokens_per_forward"]), length, machine):
            training = training_of({**train, **changed["train"]}, length)
            counted = need(changed["base"], facts[key], training, machine, room=room)
            if counted.runs:
                rungs[key] = changed
                break
            reasons = reasons or counted.reasons
        else:
            larger = larger or f"{key}: {reasons[0] if reasons else 'its size is not known'}"
            continue
        room -= facts[key].disk
    return rungs, facts, larger


def _variants(rung: Any, tokens: int, length: int, machine: Machine) -> Iterator[Any]:
    """Yield a rung's section with changes of its settings, the smallest change first."""
    for bits in ({}, {"load_in_4bit": True}) if machine.gpus else ({},):
        for checkpointing in ({}, {"gradient_checkpointing": True}):
            for fewer in dict.fromkeys((tokens, length)):
                changed = deepcopy(rung)  # keeps the types of ruamel.yaml, which writes it again
                changed["base"].update(bits)
                changed["train"].update({"tokens_per_forward": fewer} if fewer < tokens else {}, **checkpointing)
                yield changed


def durations_of(
    ladder: Mapping[str, Any],
    facts: Mapping[str, MemoryNeed],
    judges: Sequence[str],
    train: Mapping[str, Any],
    work: Workload,
    machine: Machine,
) -> dict[str, Duration | None]:
    """Return the time of each rung, None if it is not known: for embedded rungs and models without a known shape.

    Args:
        ladder: The rungs by key.
        facts: The known facts about their models.
        judges: Keys of the rungs whose adapters judge labels.
        train: The section train of params.yaml.
        work: The work of the run.
        machine: The machine to run on.
    """
    times: dict[str, Duration | None] = {}
    for key, rung in ladder.items():
        shape = facts[key].shape
        times[key] = None
        if shape and machine.speed and facts[key].source != EMBEDDED:
            settings = {**train, **(rung.get("train") or {})}
            quantized = any(rung["base"].get(name) for name in QUANTIZED)
            times[key] = duration(shape, work, settings, machine.speed, judges=key in judges, quantized=quantized)
    return times


def language_of(params: Mapping[str, Any]) -> str:
    """Return the language of a project's prompts; ``other`` if it is not in ``CHAT_LANGUAGES``."""
    language = section(params, "prompt").get("language")
    return language if language in CHAT_LANGUAGES else "other"


def show_machine(machine: Machine) -> str:
    """Describe a machine in a few words."""
    if not machine.gpus:
        return (
            f"{machine.cores} core{'s' * (machine.cores > 1)}, {show_bytes(machine.memory)} of memory, {machine.dtype}"
        )
    cards = "a GPU" if len(machine.gpus) == 1 else f"{len(machine.gpus)} GPUs"
    return f"{cards} of {show_bytes(max(machine.gpus))}, {machine.dtype}"


def show_work(work: Workload) -> str:
    """Describe the work that the time is estimated for."""
    return f"{work.questions:,} questions" + ("" if work.is_counted else " (estimated)")


def describe(advice: Recommendation, machine: Machine) -> list[str]:
    """Return lines about the recommended models, the reasons, and the time."""
    name, rungs = advice.catalogue.name, advice.catalogue.rungs
    chat = f"a chat in {LANGUAGE_NAMES[advice.language]}"
    lines = [f"Models of {name} for {chat} on {show_machine(machine)}; {show_work(advice.work)}:"]
    width = max(map(len, rungs))
    for key, rung in rungs.items():
        params, time = advice.facts[key].params, advice.durations[key]
        size, minutes = show_count(params) if params else "?", show_duration(time.total) if time else "not timed"
        bits = ", in 4 bits" if "load_in_4bit" in rung["base"] else ""
        lines.append(f"  {key:<{width}}  {size:>5}  {minutes}{bits}")
    download = sum(each.disk for each in advice.facts.values())
    if advice.total and len(rungs) > 1:
        lines.append(f"  total {show_duration(advice.total)}, without downloads of {show_bytes(download)}")
    if not advice.runs:
        return [
            *lines,
            f"  Not even that one runs here: {advice.larger}. Run the project on a machine with more memory.",
        ]
    if advice.larger:
        lines.append(f"  left out: {advice.larger}")
    if len(rungs) < FEWEST_RUNGS:
        lines.append(f"  {len(rungs)} of the {FEWEST_RUNGS} sizes from which growth with size can be judged")
    return lines


def misfits(ladder: Mapping[str, Any], language: str, *, is_demo: bool) -> Iterator[str]:
    """Yield warnings about rungs that do not know the language of the chat, or know the demo alone.

    Args:
        ladder: The rungs by key.
        language: The language of the prompts.
        is_demo: True if the chat is the demo, or there is none yet.
    """
    embedded = [key for key, rung in ladder.items() if rung["base"].get("source") == EMBEDDED]
    if embedded and not is_demo:
        yield FOR_THE_DEMO
    for catalogue in map(read, names()):
        keys = [key for key in ladder if key in catalogue.rungs]
        if keys and language not in catalogue.languages:
            known = " and ".join(LANGUAGE_NAMES[each] for each in catalogue.languages)
            yield (
                f"{', '.join(keys)}: know {known}, and prompt.language is {language}: "
                f'"chatladder ladder {RECOMMENDED}" chooses others.'
            )
