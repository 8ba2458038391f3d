"""The judges: each gives every text turn a score from 0 (a statement) to 10 (a complete question).

A judge is a module of this package with one function, found through `JUDGES`:

    score(turns: pa.Table, seed: int) -> Sequence[float]

``turns`` holds text turns only, in the order of stages.rows.TURNS; the scores come back in the same order.
A judge that cannot give a score raises `DataError`: a failure is never a score. A new judge (one that asks a
model behind an endpoint, say) is one module and one line here.
"""

from stages.judges import punctuation, rules

JUDGES = {"rules": rules, "punctuation": punctuation}
