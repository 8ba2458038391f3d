"""The judges: each gives every text turn a score from 0 (a statement) to 10 (a complete question).

A judge of this machine is a module of this package with one function, found through `JUDGES`:

    score(turns: TextTurns, seed: int) -> np.ndarray of shape (turns,)

It reads the texts part by part, as often as it likes. A judge that cannot give a score raises `DataError`: a failure is
never a score. One that asks a model needs no code, but a section in params.yaml: behind an
OpenAI-compatible endpoint (``endpoint``), or in batches where GPUs are (``batch``).
"""

from chatladder.judges import punctuation, rules

JUDGES = {"rules": rules, "punctuation": punctuation}
