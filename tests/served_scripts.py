"""What the tests of served rungs share: options of the command, and what a scripted server writes back."""

import json
import math

from tests.endpoint_server import Say, completion

CONNECTION = {
    "model": "m",
    "answer_limit": "max_tokens",
    "max_answer_tokens": 16,
    "temperature": 0.0,
    "concurrency": 4,
    "requests_per_minute": 0,
    "tokens_per_minute": 0,
    "max_requests": 1000,
    "max_tokens": 1_000_000,
    "timeout": 10.0,
    "max_retries": 3,
}
PROMPT = {"language": "zh", "answer": "text", "seed": 0, "max_length": 1400}
#: Text of the options in Chinese.
NEEDED, COMPLETE, UNKNOWN = "需要", "完整", "难说"


def token(text, probability):
    data = text if isinstance(text, bytes) else text.encode()
    return {"token": data.decode("utf-8", "replace"), "logprob": math.log(probability), "bytes": list(data)}


def step(listed, own=None):
    """One generated token: the first of those that are listed, unless told otherwise."""
    first = own or next(iter(listed.items()))
    return {**token(*first), "top_logprobs": [token(*each) for each in listed.items()]}


def choice(*steps, content="x"):
    """The first choice of a chat completion, whose tokens these are."""
    return {"message": {"role": "assistant", "content": content}, "logprobs": {"content": list(steps)}}


def lists(*steps, **say):
    """A chat completion that lists the likeliest tokens of each of these steps."""
    body = {"choices": [choice(*steps)], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}
    return Say(json.dumps(body).encode(), **say)


def is_needed(request):
    """The rule of ``model_fixtures.write_questions``: a pronoun needs the history, a name does not."""
    return "它的" in asked_about(request)


def asked_about(request):
    """The question's own line, which tells the prompts of those tests apart."""
    return next(line for line in request.system.split("\n") if line.endswith("好用吗？"))


def knows(request, **say):
    """Probabilities of a model that is nearly always right."""
    first, second = (NEEDED, COMPLETE) if is_needed(request) else (COMPLETE, NEEDED)
    return lists(step({first: 0.7, second: 0.2, UNKNOWN: 0.04, "我": 0.02}), **say)


def names(request):
    """The same model on a server that lists no tokens, and holds it to a schema where it is given one."""
    said = NEEDED if is_needed(request) else COMPLETE
    return completion(json.dumps({"answer": said}) if "response_format" in request.body else said)
