"""A bot that asks chatladder whether a question of a group needs what was said before it.

It reads one message a line, {"group", "sender", "text"}, as a bridge to your chat writes them, and prints for each
question what a search or a model should be given: the question, alone or written out, or with the last messages of its
group where the server's model was not trained to write.

    CHATLADDER_SERVER=http://127.0.0.1:8765 python docs/examples/bot.py < messages.jsonl
"""

import json
import os
import re
import sys
from collections import defaultdict, deque
from urllib.request import Request, urlopen

#: What the server refuses: control characters and halves of characters, and long texts.
LONGEST = 16_384
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Bot:
    """The last messages of each group, and a server that says when they are needed."""

    def __init__(self, server: str, token: str = "") -> None:
        self.address = f"{server}/v1/questions"
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self.groups: dict[str, deque] = defaultdict(lambda: deque(maxlen=12))

    def hear(self, group: str, sender: str, text: str) -> list[dict] | None:
        """Remember a message; if it asks something, return what it takes to understand it."""
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
        except OSError as error:  # the server is gone, or refuses the message: the bot lives on
            print(error, file=sys.stderr)
