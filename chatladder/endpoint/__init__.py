"""Questions to a model behind an OpenAI-compatible endpoint: one client, cache, budget, plan and report for all.

What is asked and what counts as an answer is a `chatladder.endpoint.asking.Job`: that of a judge is in
``chatladder.judges.llm``, that of a served rung in ``chatladder.models.served``. Each different question is asked once.
Answers are kept on disk, so a run that was killed resumes where it was, and a repeated one asks nothing.

An answer counts from the moment it is committed, right after the last byte of its reply was read. If the process is
killed, the requests under way at that moment, at most ``concurrency`` of them, may have been answered and not
committed; those alone are asked again. Two runs at once share their answers, but not what they are asking just now.
"""
