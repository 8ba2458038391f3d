"""A bot that asks chatladder whether a question in a group needs the messages before it.

It reads one message a line, {"group", "sender", "text"}, as a bridge to your chat writes them, and prints for each
question the input for a search or a model: the question, alone or rewritten, or with the last messages of its group if
the server's model was not trained to rewrite.

    CHATLADDER_SERVER=http://127.0.0.1:8765 python docs/examples/bot.py < messages.jsonl
"""

import json
import os
import re
import sys
from collections import defaultdict, deque
from urllib.request import Request, urlopen

#: The server refuses control characters, unpaired surrogates and long texts.
LONGEST = 16_384
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Bot:
    """The last messages of each group, and a server that decides whether they are needed."""

    def __init__(self, server: str, token: str = "") -> None:
        self.address = f"{server}/v1/questions"
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self.groups: dict[str, deque] = defaultdict(lambda: deque(maxlen=12))

    def hear(self, group: str, sender: str, text: str) -> list[dict] | None:
        """Store a message; if it is a question, return the context needed to understand it."""
        message, history = {"sender": sender, "text": CONTROL.sub(" ", text[:LONGEST])}, list(self.groups[group])
        self.groups[group].append(message)
        if not text.rstrip().endswith(("?", "？")):
            return None
        answer = self.ask(history, message)
        if answer["rewritten"]:
            return [{"sender": sender, "text": answer["rewritten"]}]
        return [*history, message] if answer["needed"] else [message]

    def ask(self, history: list[dict], question: dict) -> dict:
        """Ask the server."""
        body = json.dumps({"history": history, "question": question}).encode()
        with urlopen(Request(self.address, body, self.headers), timeout=30) as reply:
            return json.load(reply)


if __name__ == "__main__":
    bot = Bot(os.environ["CHATLADDER_SERVER"], os.environ.get("CHATLADDER_SERVE_TOKEN", ""))
    for line in sys.stdin:
        try:
            if (context := bot.hear(**json.loads(line))) is not None:
                print(json.dumps(context, ensure_ascii=False), flush=True)
        except OSError as error:  # the server is down, or refuses the message: the bot continues
            print(error, file=sys.stderr)
