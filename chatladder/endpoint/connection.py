"""The address of an endpoint, its key and the limits of a run, checked before anything is sent.

A key is read only from the environment, so it is in no file, no command line and no cache. It leaves this machine
encrypted or not at all.
"""

import ipaddress
import json
import os
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from chatladder.io.console import DataError
from chatladder.io.options import setting

#: The names of the limit on an answer's tokens; servers differ (Ollama has only the second).
ANSWER_LIMITS = ("max_completion_tokens", "max_tokens")
#: Fields that ``extra_body`` must not set, because settings set them or the parsing of answers depends on them.
RESERVED = {"model", "messages", "temperature", "response_format", "stream", "n", *ANSWER_LIMITS}
#: No user, password, query or fragment, where secrets may hide. A host in another script has an ASCII form.
_ADDRESS = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?(?:/[A-Za-z0-9._~%/-]*)?")
_KEY = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The connection to an endpoint, and the limits of one run."""

    base_url: str = setting("URL of the server, without /chat/completions: http://localhost:8000/v1.")
    model: str = setting("Name of the model at that server.")
    key_variable: str = setting("Environment variable with the key; omit it if the server requires none.", default="")
    answer_limit: str = setting("Name of the limit on an answer's tokens at that server.", choices=ANSWER_LIMITS)
    max_answer_tokens: int = setting("Maximum tokens of an answer, reasoning included.", least=1)
    temperature: float | None = setting(
        "Sampling temperature; omit it if the server refuses it.", default=None, least=0
    )
    extra_body: str = setting("Additional fields of the request (JSON object).", default="")
    concurrency: int = setting("Number of parallel requests.", least=1)
    requests_per_minute: int = setting("Maximum requests per minute; 0 for no limit.", least=0)
    tokens_per_minute: int = setting("Maximum tokens per minute; 0 for no limit.", least=0)
    max_requests: int = setting("Maximum requests of a run, retries included.", least=0)
    max_tokens: int = setting("Maximum tokens of a run, prompts and answers together.", least=0)
    timeout: float = setting("Seconds to wait for an answer.", above=0)
    max_retries: int = setting("Maximum retries of a request.", least=0)

    def drawn(self, reserved: Set[str] = frozenset(), **further: Any) -> dict[str, Any]:
        """Return the fields of a request that change a model's answer, besides model and messages.

        Args:
            reserved: Names besides `RESERVED` that ``extra_body`` must not set.
            further: The caller's own fields; a field with None is left out.

        Raises:
            DataError: If ``extra_body`` is not a JSON object, or sets a reserved field.
        """
        own = {"temperature": self.temperature, **further}
        return {name: value for name, value in own.items() if value is not None} | self._extra(RESERVED | reserved)

    def body(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """Return a request's body without its messages."""
        return {"model": self.model, **drawn, self.answer_limit: self.max_answer_tokens}

    def _extra(self, reserved: Set[str]) -> dict[str, Any]:
        if not self.extra_body:
            return {}
        try:
            fields = json.loads(self.extra_body)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise DataError('extra_body: expected a JSON object such as {"thinking": {"type": "disabled"}}.')
        if taken := sorted(fields.keys() & reserved):
            raise DataError(
                f"extra_body: expected other fields than {', '.join(taken)}, which have options of their own."
            )
        return fields


def check_address(base_url: str, *, with_key: bool) -> None:
    """Refuse an address that holds a secret, or to which a key would be sent unencrypted.

    Raises:
        DataError: Without repeating the address, since a secret may be in it.
    """
    try:
        parts = urlsplit(base_url)
        host = parts.hostname if parts.port is None or parts.port else None
    except ValueError:
        host = None
    if host is None or not _ADDRESS.fullmatch(base_url):
        raise DataError(
            "base_url: expected an address such as https://host/v1 or http://localhost:8000/v1, without user, "
            "password, query or fragment; a key goes into the environment variable that key_variable names."
        )
    if with_key and parts.scheme == "http" and not _is_loopback(host):
        raise DataError(
            f"base_url: a key would travel unencrypted to {host}; use https, a tunnel to localhost, or leave "
            "key_variable empty where the server wants no key."
        )


def is_this_machine(base_url: str) -> bool:
    """Return True if an address that `check_address` passed is a loopback address."""
    return _is_loopback(urlsplit(base_url).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(variable: str) -> str:
    """Return the key from the environment; "" if no variable is named.

    Raises:
        DataError: If the variable is not set, or its value cannot be a key. The message never shows the value.
    """
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise DataError(
            f"key_variable: expected the endpoint's key in the environment variable {variable}, which is not set; "
            "set it, or leave key_variable empty for a server that wants none."
        )
    if not _KEY.fullmatch(key):
        raise DataError(f"key_variable: {variable} holds no key: expected printable ASCII without spaces.")
    return key
