"""Shared parts of the tests of served rungs: options of the command, and replies of a scripted server."""

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
#: The texts of the options in Chinese.
NEEDED, COMPLETE, UNKNOWN = "需要", "完整", "难说"


def token(text, probability):
    data = text if isinstance(text, bytes) else text.encode()
    return {"token": data.decode("utf-8", "replace"), "logprob": math.log(probability), "bytes": list(data)}


def step(listed, own=None):
    """Return one generated token: ``own``, or by default the first listed one."""
    first = own or next(iter(listed.items()))
    return {**token(*first), "top_logprobs": [token(*each) for each in listed.items()]}


def choice(*steps, content="x"):
    """Return the first choice of a chat completion with these tokens."""
    return {"message": {"role": "assistant", "content": content}, "logprobs": {"content": list(steps)}}


def lists(*steps, **say):
    """Return a chat completion that lists the most likely tokens of each step."""
    body = {"choices": [choice(*steps)], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}
    return Say(json.dumps(body).encode(), **say)


def is_needed(request):
    """Return True by the rule of ``model_fixtures.write_questions``: a pronoun needs the history, a name does not."""
    return "它的" in asked_about(request)


def asked_about(request):
    """Return the line with the question, which distinguishes the prompts of these tests."""
    return next(line for line in request.system.split("\n") if line.endswith("好用吗？"))


def knows(request, **say):
    """Answer with the probabilities of a model that is nearly always right."""
    first, second = (NEEDED, COMPLETE) if is_needed(request) else (COMPLETE, NEEDED)
    return lists(step({first: 0.7, second: 0.2, UNKNOWN: 0.04, "我": 0.02}), **say)


def names(request):
    """Answer with the same model on a server that lists no tokens, but enforces a schema if it gets one."""
    said = NEEDED if is_needed(request) else COMPLETE
    return completion(json.dumps({"answer": said}) if "response_format" in request.body else said)
