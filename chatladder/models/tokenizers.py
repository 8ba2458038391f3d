"""A model's tokenizer as its own files say, with the tokens that end a text and fill a batch.

A tokenizer.json is the whole of a tokenizer; what loads must encode as it does. Transformers rebuilds some tokenizers
from their vocabulary by a class of the model's name: a folder of type ``qwen2`` gets Qwen's way to split text.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.files import read_json, write_json
from chatladder.models.confined import try_tokenizer, write_chats
from chatladder.models.folders import reading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: How a rung's prompts are written: in the tokenizer's own chat template, or as plain text.
CHAT_TEMPLATES = ("auto", "none")
#: What decides how text becomes pieces, beside the vocabulary and its merges, which no class replaces.
_STEPS = ("normalizer", "pre_tokenizer")
_FLAGS = (
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)
#: How this machine loaded the tokenizer, which is no property of it.
_LOCAL_KEYS = ("is_local", "local_files_only", "name_or_path")
#: Stands for what an assistant says.
_ANSWER = "ANSWER"
#: Stands for what a user says: a character that no template has, between two that some take off.
_MESSAGE = "\t\ue000\t"
#: Everything that some template might write otherwise.
_SAMPLE = ' \t"It\'s" <b>1 &amp; 2</b>\\n\n\n{{ it }}，好 '
#: What a tokenizer is tried on: a prompt's length of what expressions stumble over.
_TRIED = "user 1: " + "a" * 400 + " b2" * 200 + "，好吗？" * 50 + "\n \t\u200b\U0001f600 1234567 don't!!!" * 20
_PLAIN_TEXT = "base: {chat_template: none} (--chat-template none) asks in plain text."


def load_tokenizer(folder: Path, chat_template: str = "auto") -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, ready to encode.

    Its end-of-text token is the one that ends an answer in the chat template, where there is one: an untuned Qwen has
    a template whose turns end in ``<|im_end|>`` and an end of text that is ``<|endoftext|>``. Its padding token is
    the end of text where it has none of its own.

    Args:
        folder: A model folder; in it a tokenizer.json, or the files of an older kind.
        chat_template: One of ``CHAT_TEMPLATES``; ``none`` asks in plain text.

    Raises:
        DataError: If there is no tokenizer, or one that cannot be used here.
    """
    with reading(str(folder), "a tokenizer that loads"):
        tokenizer = _as_written(folder)
        if chat_template == "none":
            tokenizer.chat_template = None
        _set_ends(tokenizer, folder)
        loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def try_out(folder: Path) -> None:
    """Refuse a stranger's tokenizer that its reader cannot cope with, before it is read here.

    Raises:
        DataError: With what its reader says.
    """
    written = folder / "tokenizer.json"
    if written.is_file():
        try_tokenizer(written, [_TRIED])


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer of a model folder brings a chat template.

    Raises:
        DataError: If there is no tokenizer, or one that cannot be used here.
    """
    with reading(str(folder), "a tokenizer that loads"):
        return _as_written(folder).chat_template is not None


def _as_written(folder: Path) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # Types are the stubs' own trouble: the auto class is typed as the union of what it may give.
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    written = folder / "tokenizer.json"
    if written.is_file() and not _encodes_as(tokenizer, read_json(written)):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
    return tokenizer


def _encodes_as(tokenizer: Any, written: dict[str, Any]) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    for step in _STEPS:
        loaded = getattr(backend, step)
        if (json.loads(loaded.__getstate__()) if loaded is not None else None) != written.get(step):
            return False
    model = written["model"]
    return all((getattr(backend.model, flag, None) or None) == (model.get(flag) or None) for flag in _FLAGS)


def _set_ends(tokenizer: Any, folder: Path) -> None:
    ends = _ends(folder)
    end = turn_end(tokenizer, ends)
    if end is None and tokenizer.eos_token_id is None and ends:
        end = ends[0]
    if end is not None and end != tokenizer.eos_token_id:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token_id is None or not _has_row(folder, tokenizer.pad_token_id):
        tokenizer.pad_token = tokenizer.eos_token


def _ends(folder: Path) -> list[int]:
    """Token ids that end a text, as generation_config.json or config.json names them: none, one or several."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        ends = read_json(path).get("eos_token_id") if path.is_file() else None
        if ends is not None:
            return [int(number) for number in (ends if isinstance(ends, list) else [ends])]
    return []


def _has_row(folder: Path, token: int) -> bool:
    """Whether the model has a row for a token; some tokenizers were given a padding token that their model lacks."""
    path = folder / "config.json"
    rows = vocabulary(read_json(path)) if path.is_file() else None
    return rows is None or token < rows


def vocabulary(config: dict[str, Any]) -> int | None:
    """Rows of the embedding that a config.json tells, of a model of text or of text and images."""
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return None if rows is None else int(rows)


def turn_end(tokenizer: "PreTrainedTokenizerBase", ends: list[int]) -> int | None:
    """The token that a chat template writes after what an assistant says; None without template or such a token.

    Args:
        tokenizer: The model's tokenizer.
        ends: What its configuration names as end, which need not be marked as special.
    """
    if tokenizer.chat_template is None:
        return None
    messages = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": _ANSWER}]
    (written,) = write_chats(*_template(tokenizer), [messages])
    _, answer, rest = written.text.rpartition(_ANSWER)
    special = {*special_tokens(tokenizer), *ends}
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"] if answer else []
    return next((token for token in ids if token in special), None)


class Frame(NamedTuple):
    """The text that a chat template writes around the message of a user, and up to the answer.

    Attributes:
        parts: Between any two of them stands the message.
        strips_start: Whether the template takes off spaces and line breaks before the message.
        strips_end: Whether it takes them off after the message.
    """

    parts: Sequence[str]
    strips_start: bool = False
    strips_end: bool = False

    def around(self, message: str) -> str:
        """The prompt that holds this message."""
        message = message.lstrip() if self.strips_start else message
        return (message.rstrip() if self.strips_end else message).join(self.parts)


def frame(tokenizer: "PreTrainedTokenizerBase") -> Frame:
    """Write a chat of one message in the tokenizer's chat template.

    Raises:
        DataError: If the template refuses it, takes too long, or changes what the user says.
    """
    # Models that may think aloud first are told not to: the answer is scored, not generated.
    options = {"add_generation_prompt": True, "enable_thinking": False}
    chats = [[{"role": "user", "content": content}] for content in (_MESSAGE, _SAMPLE)]
    template, variables = _template(tokenizer)
    empty, sample = write_chats(template, variables | options, chats)
    if error := empty.error or sample.error:
        raise DataError(
            f"expected a chat template for one message of a user, got one that refuses it: {error}. {_PLAIN_TEXT}"
        )
    strips = [end not in empty.text for end in (_MESSAGE.rstrip(), _MESSAGE.lstrip())]
    stripped = Frame(("", ""), *strips).around(_MESSAGE)
    whole = Frame(empty.text.split(stripped), *strips)
    if whole.around(_SAMPLE) != sample.text or len(whole.parts) < 2:
        raise DataError(
            "expected a chat template that writes what a user says as it is, got one that changes it. " + _PLAIN_TEXT
        )
    return whole


def _template(tokenizer: "PreTrainedTokenizerBase") -> tuple[str, dict[str, Any]]:
    """The chat template, of several the default, and the tokens that it may name."""
    try:
        template = str(tokenizer.get_chat_template())
    except ValueError as error:
        raise DataError(
            f"expected one chat template, or a default one of several, got neither. {_PLAIN_TEXT}"
        ) from error
    return template, {**tokenizer.special_tokens_map, "add_generation_prompt": False}


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Every token that stands for itself and not for text, by id, whether it has a role of its own or none."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    marked = {number: str(token) for number, token in added.items() if token.special}
    return marked | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def write_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save a tokenizer without what only says how it was loaded here."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = {name: value for name, value in read_json(path).items() if name not in _LOCAL_KEYS}
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the same, by the name that older releases know
    write_json(path, settings)
