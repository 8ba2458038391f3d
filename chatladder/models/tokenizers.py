"""A model's tokenizer as its own files define it, with its end-of-text and padding tokens.

A tokenizer.json defines a tokenizer completely, and the loaded one must encode as it does. transformers rebuilds some
tokenizers from their vocabulary by a class for the model's type: a folder of type ``qwen2`` gets Qwen's pre-tokenizer.
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

#: The forms of a rung's prompts: in the tokenizer's own chat template, or in plain text.
CHAT_TEMPLATES = ("auto", "none")
#: The parts that determine how text is split, besides the vocabulary and its merges, which no class replaces.
_STEPS = ("normalizer", "pre_tokenizer")
_FLAGS = (
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)
#: Settings of how this machine loaded the tokenizer, which are no property of the tokenizer.
_LOCAL_KEYS = ("is_local", "local_files_only", "name_or_path")
#: A placeholder for the assistant's message.
_ANSWER = "ANSWER"
#: A placeholder for the user's message: a character that no template has, between two that some templates strip.
_MESSAGE = "\t\ue000\t"
#: A message with everything that a template might change.
_SAMPLE = ' \t"It\'s" <b>1 &amp; 2</b>\\n\n\n{{ it }}，好 '
#: The text that a tokenizer is tried on: as long as a prompt, with everything that is hard for regular expressions.
_TRIED = "user 1: " + "a" * 400 + " b2" * 200 + "，好吗？" * 50 + "\n \t\u200b\U0001f600 1234567 don't!!!" * 20
_PLAIN_TEXT = "base: {chat_template: none} (--chat-template none) asks in plain text."


def load_tokenizer(folder: Path, chat_template: str = "auto") -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a model folder, ready to encode.

    Its end-of-text token is the one that ends an answer in the chat template, if there is one: in Qwen's base models,
    the template ends turns with ``<|im_end|>``, but the end-of-text token is ``<|endoftext|>``. Its padding token is
    the end-of-text token if it has none of its own.

    Args:
        folder: A model folder with a tokenizer.json, or the files of an older kind.
        chat_template: The form of prompts, one of ``CHAT_TEMPLATES``; ``none`` is plain text.

    Raises:
        DataError: If there is no tokenizer, or it cannot be used.
    """
    with reading(str(folder), "a tokenizer that loads"):
        tokenizer = _as_written(folder)
        if chat_template == "none":
            tokenizer.chat_template = None
        _set_ends(tokenizer, folder)
        loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def try_out(folder: Path) -> None:
    """Refuse an untrusted tokenizer that fails in a child process, before this process reads it.

    Raises:
        DataError: If it fails, with the error of its reader.
    """
    written = folder / "tokenizer.json"
    if written.is_file():
        try_tokenizer(written, [_TRIED])


def has_chat_template(folder: Path) -> bool:
    """Return True if the tokenizer of a model folder has a chat template.

    Raises:
        DataError: If there is no tokenizer, or it cannot be used.
    """
    with reading(str(folder), "a tokenizer that loads"):
        return _as_written(folder).chat_template is not None


def _as_written(folder: Path) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # Any, since the stubs type the auto class as the union of everything that it may return.
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
    """Return the token ids that end a text, from generation_config.json or config.json: none, one or several."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        ends = read_json(path).get("eos_token_id") if path.is_file() else None
        if ends is not None:
            return [int(number) for number in (ends if isinstance(ends, list) else [ends])]
    return []


def _has_row(folder: Path, token: int) -> bool:
    """Return True if the model has a row for a token; some tokenizers have a padding token that their model lacks."""
    path = folder / "config.json"
    rows = vocabulary(read_json(path)) if path.is_file() else None
    return rows is None or token < rows


def vocabulary(config: dict[str, Any]) -> int | None:
    """Return the rows of the embedding from a config.json, of a model for text or for text and images."""
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return None if rows is None else int(rows)


def turn_end(tokenizer: "PreTrainedTokenizerBase", ends: list[int]) -> int | None:
    """Return the token that a chat template writes after an assistant's message; None without one or a template.

    Args:
        tokenizer: The model's tokenizer.
        ends: The end tokens of its configuration, which need not be marked as special.
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
    """The text that a chat template writes around a user's message, up to the answer.

    Attributes:
        parts: The parts of the text; the message goes between any two of them.
        strips_start: True if the template strips white space at the start of the message.
        strips_end: True if the template strips white space at the end of the message.
    """

    parts: Sequence[str]
    strips_start: bool = False
    strips_end: bool = False

    def around(self, message: str) -> str:
        """Return the prompt with a message."""
        message = message.lstrip() if self.strips_start else message
        return (message.rstrip() if self.strips_end else message).join(self.parts)


def frame(tokenizer: "PreTrainedTokenizerBase") -> Frame:
    """Return the frame that the tokenizer's chat template writes around a single message.

    Raises:
        DataError: If the template refuses such a chat, takes too long, or changes the message.
    """
    # Thinking is switched off in models that support it: the answer is scored, not generated.
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
    """Return the chat template, or the default one of several, and its variables."""
    try:
        template = str(tokenizer.get_chat_template())
    except ValueError as error:
        raise DataError(
            f"expected one chat template, or a default one of several, got neither. {_PLAIN_TEXT}"
        ) from error
    return template, {**tokenizer.special_tokens_map, "add_generation_prompt": False}


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Return every special token by id, whether or not it has a role, such as end-of-text."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    marked = {number: str(token) for number, token in added.items() if token.special}
    return marked | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def write_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save a tokenizer without the settings that only describe how it was loaded."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = {name: value for name, value in read_json(path).items() if name not in _LOCAL_KEYS}
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the same class, by the name that older versions know
    write_json(path, settings)
