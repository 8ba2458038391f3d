"""Where an endpoint is and which key opens it, checked before anything is sent.

A key is read from the environment and nowhere else, so it stands in no file, no command line and no cache. It leaves
this machine encrypted or not at all.
"""

import ipaddress
import os
import re
from urllib.parse import urlsplit

from chatladder.io.console import DataError

#: No user, password, query or fragment: secrets hide in them. A host in another script has a form in ASCII.
_ADDRESS = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?(?:/[A-Za-z0-9._~%/-]*)?")
_KEY = re.compile(r"[!-~]{1,4096}")


def check_address(base_url: str, *, with_key: bool) -> None:
    """Refuse an address that holds a secret, or to which a key would travel in the open.

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
    """Whether an address that `check_address` passed means, on whatever machine, that machine."""
    return _is_loopback(urlsplit(base_url).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(variable: str) -> str:
    """The key, from the environment and nowhere else; "" if no variable is named.

    Raises:
        DataError: If the variable is not set, or what it holds cannot be a key. Never shows it.
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
