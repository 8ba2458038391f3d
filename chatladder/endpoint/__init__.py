"""Questions to a model behind an OpenAI-compatible endpoint, with one client, cache, budget, plan and report for all.

A `chatladder.endpoint.asking.Job` defines the questions and what counts as an answer: a judge's is in
``chatladder.judges.llm``, a served rung's in ``chatladder.models.served``. Each distinct question is asked once.
Answers are cached on disk, so a run that was killed resumes where it stopped, and a repeated run asks nothing.

An answer counts once it is committed, right after the last byte of its reply was read. If the process is killed, the
requests in flight at that moment, at most ``concurrency`` of them, may have been answered without a commit; only those
are asked again. Two concurrent runs share their answers, but not the questions in flight.
"""
