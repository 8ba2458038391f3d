"""The judges: each scores every text turn from 0 (a statement) to 10 (a complete question).

A judge that runs locally, without a model, is a module of this package with one function, listed in ``scoring.JUDGES``:

    score(turns: TextTurns, seed: int) -> np.ndarray of shape (turns,)

It reads the texts part by part, as often as necessary. A judge that cannot compute a score raises `DataError`: a
failure is never a score. A judge that asks a model behind an endpoint needs no code (``chatladder.judges.llm``).
"""

#: The files of a judge's folder, ``data/scores/<judge>``.
SCORES_FILE, COUNTS_FILE = "scores.parquet", "counts.json"
