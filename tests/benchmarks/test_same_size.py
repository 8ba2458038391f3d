"""The benchmarks of the checks of labels compute what the checks compute, and draw what they say."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.same_size import areas, fitted, measured_on
from chatladder.evaluation.scores import NEEDED, auroc_of, clustered_variance
from chatladder.io.console import DataError


def test_weighted_conversations_score_as_copies_of_them_do():
    generator = np.random.default_rng(0)
    evidence, needed = generator.standard_normal((3, 300)), generator.random(300) < 0.4
    clusters = np.sort(np.r_[np.arange(40), generator.integers(0, 40, 260)])
    weights = generator.multinomial(40, np.full(40, 1 / 40))
    area, covariance = areas(np.argsort(evidence, axis=1), needed, clusters, weights.astype(float))
    copies = [np.flatnonzero(clusters == cluster) for cluster in np.repeat(np.arange(40), weights)]
    rows, numbers = np.concatenate(copies), np.repeat(np.arange(len(copies)), list(map(len, copies)))
    references = np.where(needed[rows], NEEDED, 1 - NEEDED)
    scored = [auroc_of(references, values[rows]) for values in evidence]
    assert area == pytest.approx([each for each, _ in scored])
    variances = [clustered_variance(influence, numbers) for _, influence in scored]
    assert np.diag(covariance) == pytest.approx(variances)
    both = clustered_variance(scored[0][1] - scored[1][1], numbers)
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] == pytest.approx(both)


def test_ladders_on_which_nothing_grows_pass_and_fail_in_one_of_forty():
    normals = np.random.default_rng(0).standard_normal((20_000, 13))
    doublings = np.repeat(np.arange(4.0), 3)
    found = fitted(normals, doublings, np.zeros(12), np.full(12, 0.02), by_items=0.0)
    assert (found.low > 0).mean() == pytest.approx(0.025, abs=0.004)
    assert (found.high < 0).mean() == pytest.approx(0.025, abs=0.004)


def test_answers_say_what_they_were_given_to(tmp_path):
    path, table = tmp_path / "answers.parquet", pa.table({"item_id": ["a"]})
    pq.write_table(table, path)
    with pytest.raises(DataError, match="expected the hashes"):
        measured_on(path, tmp_path / "labelled.parquet")
    pq.write_table(table.replace_schema_metadata({"measured_on": json.dumps({"data/bases": "1"})}), path)
    assert measured_on(path, tmp_path / "labelled.parquet") == {"data/bases": "1"}
