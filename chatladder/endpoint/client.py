"""One request to an OpenAI-compatible endpoint: its reply, or the kind of its failure.

The official client implements the protocol; repeating, waiting and counting are left to the caller, so every attempt is
visible. It is restricted in several ways:

- the key goes into one header of requests to one origin: redirects are not followed;
- the environment changes neither the destination nor the headers of a request, nor the trusted certificates: proxies,
  ``SSL_CERT_*`` and ``OPENAI_*`` are ignored. A proxy would see requests to a server on this machine, and one whose
  certificates the environment trusts would see everything else;
- no header describes this machine;
- a body ends after `MAX_BODY_BYTES`, uncompressed, and a reply after the timeout, however slowly it arrives;
- errors repeat only the status and a code word of the server's message, and never the key.

Sources:
    platform.openai.com/docs/guides/error-codes (``insufficient_quota``);
    platform.kimi.com/docs/api/errors (``exceeded_current_quota_error`` with status 429);
    RFC 9110, sections 10.2.3 (Retry-After) and 15 (status codes).
"""

import asyncio
import math
import os
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from chatladder.endpoint.connection import Connection, is_this_machine
from chatladder.io.console import DataError

#: An answer takes some bytes, the reasoning before it a few thousand.
MAX_BODY_BYTES = 1_000_000
#: If a server asks for a longer wait, the run ends and leaves it to the user.
LONGEST_WAIT_SECONDS = 600.0
#: Statuses for which a retry is useless, and the remedy.
FATAL = {
    401: "check the key in the variable named by key_variable, and that it belongs to this base_url",
    402: "top the account up",
    403: "check the account's balance and what the key may use",
    404: "check base_url (most end in /v1) and model",
    405: "check base_url (most end in /v1)",
}
NO_QUOTA = {"insufficient_quota", "exceeded_current_quota_error", "billing_hard_limit_reached", "billing_not_active"}
#: The server refused this request; another one may pass.
REFUSED = (400, 413, 422)
PASSING = (408, 409, 425, 429)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}")
#: Variables that other clients use, named when a server cannot be reached; their values may hold a secret.
_UNUSED = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}


class Refused(Exception):
    """Raised if this request will never be answered; the message is a status and a code."""


class Retry(Exception):
    """Raised if the request may be answered later.

    Attributes:
        wait: Seconds that the server asked to wait; 0.0 if it did not.
        charged: True if the server may have worked on the request.
    """

    def __init__(self, reason: str, wait: float = 0.0, *, charged: bool) -> None:
        super().__init__(reason)
        self.wait = wait
        self.charged = charged


class Endpoint:
    """One model at one address; close it with `aclose`."""

    def __init__(self, connection: Connection, key: str) -> None:
        """Prepare connections without sending anything.

        Args:
            connection: The connection to the endpoint; `check_address` passed its address.
            key: The endpoint's key; "" to send none.
        """
        base_url, timeout, concurrency = connection.base_url, connection.timeout, connection.concurrency
        self._base_url, self._key, self._timeout = base_url, key, timeout
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._set_headers], "response": [_bound]}
        http = httpx2.AsyncClient(
            timeout=timeout, limits=limits, follow_redirects=False, trust_env=False, event_hooks=hooks
        )
        # The client requires a key, and would otherwise read one from the environment.
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=key or "none", max_retries=0, http_client=http)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def post(self, body: dict[str, Any]) -> bytes:
        """Send one request once, and return the body of its reply; b"" if it is too long or compressed.

        Raises:
            Refused: If this request will never be answered.
            Retry: If it may be answered later.
            DataError: If no request of this run will be answered.
        """
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.post("/chat/completions", body=body, cast_to=httpx2.Response)
        except openai.APIStatusError as error:
            failure = self._failure(error)
        except (openai.APITimeoutError, TimeoutError):
            failure = Retry(f"no reply within {self._timeout:g} s", charged=True)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, TooLong):
                return b""
            refused = isinstance(error.__cause__, httpx2.ConnectError)
            reason = f"cannot be reached{self._unused()}" if refused else "the connection broke"
            failure = Retry(reason, charged=not refused)
        else:
            return response.content
        # The client's errors hold the request, and with it the key: none of them is chained.
        raise failure from None

    async def _set_headers(self, request: httpx2.Request) -> None:
        headers = {
            "Host": request.url.netloc.decode("ascii"),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Content-Length": str(len(await request.aread())),
            "User-Agent": "chatladder",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request.headers = httpx2.Headers(headers)

    def _failure(self, error: openai.APIStatusError) -> Exception:
        words = [word for word in (error.code, error.type) if isinstance(word, str)]
        status, code = error.status_code, self._fit(words)
        told = f"HTTP {status}" + (f" ({code})" if code else "")
        if NO_QUOTA.intersection(words):
            return DataError(f"{self._base_url}: {told}: the account's quota is used up; top it up, then run again.")
        if status in FATAL:
            return DataError(f"{self._base_url}: {told}: {FATAL[status]}.")
        if 300 <= status < 400:
            return DataError(f"{self._base_url}: {told}: redirects are not followed; give the address they lead to.")
        if status in REFUSED:
            return Refused(told)
        if status in PASSING or status >= 500:
            wait = retry_after(error.response.headers)
            if wait > LONGEST_WAIT_SECONDS:
                return DataError(f"{self._base_url}: {told}: the server asks to wait {wait:,.0f} s; run again then.")
            return Retry(told, wait, charged=False)
        return DataError(f"{self._base_url}: {told}: expected an OpenAI-compatible endpoint; check base_url and model.")

    def _unused(self) -> str:
        """Return a note on environment variables that may explain why another machine cannot be reached, or ""."""
        unused = sorted(name for name in os.environ if name.upper() in _UNUSED)
        return f" ({', '.join(unused)}: not used)" if unused and not is_this_machine(self._base_url) else ""

    def _fit(self, words: list[str]) -> str:
        """Return the first code word that may be shown, or ""."""
        return next((w for w in words if _CODE.fullmatch(w) and not (self._key and self._key in w)), "")


class TooLong(httpx2.RequestError):
    """Raised for a body that is too long, or compressed although that was not requested."""


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise TooLong(f"more than {MAX_BODY_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise TooLong("compressed")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _BoundedStream(response.stream)


def retry_after(headers: httpx2.Headers) -> float:
    """Return the seconds that a reply asks to wait; 0.0 if it gives none, or none that can be parsed."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if seconds >= 0 and math.isfinite(seconds):
            return seconds
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
