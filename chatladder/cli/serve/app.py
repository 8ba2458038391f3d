"""The paths of the server: a question, or several, or a whole chat."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from chatladder.cli.answering import Answer
from chatladder.cli.listening import Guard, api
from chatladder.cli.serve.batches import Answers, Batches, FullError
from chatladder.cli.serve.messages import Answered, Asked, Chat, Health, OneOrMany, Problem, Reader, Turn
from chatladder.io.options import setting
from chatladder.vocabulary import TASK

_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 401, 403, 408, 413, 415, 422, 503, 504)
}


@dataclass(frozen=True)
class Limits:
    """The limits of requests."""

    seconds: float = setting("Seconds to wait for a request, and to answer it.", default=60, above=0)
    most_waiting: int = setting("Maximum number of waiting questions.", default=1024, least=1)


def create_app(
    reader: Reader,
    answer: Answers,
    model: dict[str, Any],
    limits: Limits,
    hosts: Sequence[str],
    token: str | None = None,
) -> Guard:
    """Return the app that answers, guarded.

    Args:
        reader: Brings messages into the model's form.
        answer: Answers rows of QUESTIONS, called by one thread alone.
        model: The fields of ``Health`` that describe the model.
        limits: The limits of requests.
        hosts: Spellings of the address that the server listens on, the printed one first.
        token: The token that a request for answers must contain.
    """
    batches = Batches(answer, limits.most_waiting)

    async def given(rows: list[dict[str, Any]]) -> list[Answer]:
        try:
            async with asyncio.timeout(limits.seconds):
                return await batches.ask(rows)
        except FullError as error:
            raise HTTPException(
                503, "too many questions are waiting; ask again later.", {"Retry-After": "1"}
            ) from error
        except TimeoutError as error:
            raise HTTPException(504, f"no answer within {limits.seconds:g} s; ask fewer questions at once.") from error

    app = api(TASK.ask["en"], "chatladder.cli.serve")
    # Guard has checked the token before anything was read; this is for readers of /openapi.json.
    bearer = [Depends(HTTPBearer(auto_error=False))] if token else []
    told: dict[str, Any] = {"responses": _REFUSALS, "dependencies": bearer}

    @app.post("/v1/questions", **told)
    async def questions(asked: OneOrMany) -> Answered | list[Answered]:
        """Answer a question, or several together, in their order."""
        several = [asked] if isinstance(asked, Asked) else asked
        rows = await run_in_threadpool(lambda: [reader.row(each) for each in several])
        answers = [Answered(**each._asdict()) for each in await given(rows)]
        return answers[0] if isinstance(asked, Asked) else answers

    @app.post("/v1/chats", **told)
    async def chats(chat: Chat) -> list[Turn]:
        """Pick the turns of a chat that the task asks about, questions by rules, and answer those."""
        rows = await run_in_threadpool(reader.questions, chat)
        answers = iter(await given([row for row in rows if row is not None]))
        return [
            Turn(is_question=row is not None, answer=None if row is None else Answered(**next(answers)._asdict()))
            for row in rows
        ]

    @app.get("/health")
    async def health() -> Health:
        """Say what the server is asked, and what answers."""
        return Health(**model, waiting=batches.waiting)

    # No other page knows a token, so with one neither the origin nor the host name matters.
    return Guard(app, hosts=[] if token else hosts, users={token: None} if token else {}, seconds=limits.seconds)
