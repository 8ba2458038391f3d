r"""A prompt as the message that an endpoint is sent: the very text that the local rungs read, where the chat lets it.

The server writes its chat template around it, and nobody here knows which tokens that template uses. So what looks
like one inside a message (``<|im_end|>``, ``</s>``, ``[INST]``) is broken up by a space, as it is for a local model;
placeholders of this pipeline such as ``<phone>`` are words that local models see too, and stay.

Nor does anybody here know the server's tokens: they are guessed from above (UTF-8 bytes / 3), so a long prompt may lose
older history lines than it does where a model counts its own.
"""

import re

from chatladder.endpoint.prompt import BYTES_A_TOKEN, guess_tokens
from chatladder.models.prompts import without_oldest

#: What opens a token of a chat template: an angle bracket (full width too: some tokenizers fold it) before a word or a
#: bar, a square one before a word in capitals.
_OPENING = re.compile(
    r"[<＜](?=[/|｜]|(?!(?:phone|email|id|ip|key|name)>)[A-Za-z_])|\[(?=/?[A-Za-z]*[A-Z]{2,}[^\]\n]{0,20}\])"
)


def message(instruction: str, answer: str, max_length: int) -> tuple[str, bool]:
    """The message for one prompt, and whether it had to be shortened.

    Args:
        instruction: The filled-in template.
        answer: The longest option.
        max_length: Most tokens of the prompt with its answer; a longer one loses its oldest history lines, then,
            without any, the middle of what is left.
    """
    text = _OPENING.sub(lambda found: f"{found[0]} ", instruction)
    fits, shorter = text, without_oldest(text)
    while guess_tokens(fits, answer) > max_length and shorter is not None:
        fits, shorter = shorter, without_oldest(shorter)
    if (over := guess_tokens(fits, answer) - max_length) > 0:
        fits = _without_middle(fits, over * BYTES_A_TOKEN)
    return fits, fits != text


def _without_middle(text: str, less: int) -> str:
    """The text without so many bytes, or the characters that they cut, in its middle."""
    data = text.encode("utf-8")
    kept = max(0, len(data) - less)
    head, tail = data[: kept // 2], data[len(data) - (kept - kept // 2) :]
    return head.decode("utf-8", "ignore") + tail.decode("utf-8", "ignore")
