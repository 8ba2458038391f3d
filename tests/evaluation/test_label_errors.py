"""Which labels are suspect: features, out-of-fold classifiers, evidence, the queue and its reasons."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.evaluation.label_errors import (
    Evidence,
    contradicted_by_size,
    growth,
    log_odds,
    make_queue,
    probability_needed,
    reasons,
    same_text,
)
from chatladder.evaluation.word_baselines import (
    LAST_TURNS,
    Deals,
    boosted,
    cross_fitted,
    linear_features,
    logistic,
    overlap,
    texts_of,
    tf_idf,
    tree_features,
    word_baselines,
)
from chatladder.labels.folds import folds_of

STRANGE = [
    "",
    " ",
    "？",
    "它好用吗？",
    "does it WORK,, then?",
    "🙂🙂",
    "a\u0301\u200d",
    "カタカナ",
    "\n\n",
    "123",
    "x" * 3000,
]


def question(text, *window):
    return {"text": text, "window": [{"sender": "u", "text": said, "timestamp": None} for said in window]}


QUESTIONS = [
    question("它的价格呢？", "我买了把雨伞", "多少钱？"),
    question("does the pump leak?", "the pump is new"),
    question("雨伞好用吗？"),
    question("and that one, does it leak too?", "the pump leaks", "ours does not", "no"),
    question("🙂?", "🙂"),
]


class TestFeatures:
    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.builds(
                lambda text, window: question(text, *window),
                st.sampled_from(STRANGE) | st.text(max_size=20),
                st.lists(st.sampled_from(STRANGE) | st.text(max_size=20), max_size=6),
            ),
            min_size=1,
            max_size=8,
        )
    )
    def test_any_text_becomes_finite_numbers(self, rows):
        line, trees = linear_features(rows), tree_features(rows, 0)
        assert line.shape[0] == trees.shape[0] == len(rows)
        assert np.isfinite(line.toarray()).all()
        assert np.isfinite(trees).all()
        assert trees.shape[1] <= 3 * 40 + 8

    @pytest.mark.parametrize("text", STRANGE)
    def test_one_row_is_enough(self, text):
        assert linear_features([question(text)]).shape[0] == 1
        assert (overlap([question(text)]) == 0).all()

    def test_equal_rows_are_no_reason_to_warn(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isfinite(tree_features([question("好用吗？")] * 5, 0)).all()

    def test_labels_change_no_feature(self):
        labelled = [{**row, "label": "needed", "agreement": 1.0, "split": "train"} for row in QUESTIONS]
        turned = [{**row, "label": "not_needed", "agreement": 0.5, "split": "validation"} for row in QUESTIONS]
        assert (linear_features(labelled) != linear_features(turned)).nnz == 0
        assert np.array_equal(tree_features(labelled, 0), tree_features(turned, 0))

    def test_equal_rows_give_equal_features_in_any_order(self):
        back = list(reversed(QUESTIONS))
        assert (linear_features(QUESTIONS) != linear_features(QUESTIONS)).nnz == 0
        assert np.array_equal(tree_features(QUESTIONS, 3), tree_features(QUESTIONS, 3))
        assert linear_features(back).toarray()[::-1] == pytest.approx(linear_features(QUESTIONS).toarray())

    def test_only_the_last_turns_are_looked_at(self):
        said = [f"turn {number}" for number in range(10)]
        assert texts_of([question("so?", *said)]) == (["so?"], ["\n".join(said[-LAST_TURNS:])])

    def test_terms_of_one_row_alone_are_left_out_unless_there_are_no_others(self):
        shared, lone = question("pump pump"), question("kettle")
        assert tf_idf([shared, shared, lone])[1].toarray()[2].sum() == 0
        assert tf_idf([lone])[1].toarray()[0].sum() > 0

    def test_overlap_knows_what_was_said_before(self):
        rows = [question("does the pump leak?", "the pump does leak"), question("does the pump leak?", "good morning")]
        figures = overlap(rows)
        repeated, lacking = figures[:, 2], figures[:, 3]
        assert repeated[0] > repeated[1]
        assert lacking[0] < lacking[1]
        assert figures.mean(axis=0) == pytest.approx(0)
        assert set(np.round(figures.std(axis=0), 9)) <= {0.0, 1.0}

    def test_characters_of_scripts_without_spaces_are_words_of_their_own(self):
        said, unsaid = overlap([question("雨伞呢", "雨伞"), question("雨伞呢", "水壶")])[:, 2]
        assert said > unsaid


def conversations_of(items, each=4):
    return [f"c{item // each}" for item in range(items)]


class TestCrossFitted:
    def test_no_item_is_answered_by_a_classifier_that_saw_its_conversation(self):
        conversations = conversations_of(60)
        calls = []

        def spy(learned, labels, asked):
            calls.append((learned[:, 0], asked[:, 0]))
            return np.full(len(asked), labels.mean())

        rows = np.arange(60)[:, None]
        cross_fitted(rows, np.arange(60) % 2, conversations, spy, Deals(5, 3, 0))
        for learned, asked in calls:
            assert {conversations[row] for row in learned}.isdisjoint(conversations[row] for row in asked)
            assert sorted([*learned, *asked]) == list(range(60))
        assert sorted(row for _, asked in calls for row in asked) == sorted([*range(60)] * 3)

    @pytest.mark.parametrize("classifier", [logistic, boosted])
    def test_an_items_own_label_changes_nothing_of_its_answer(self, classifier):
        generator = np.random.default_rng(0)
        features, labels = generator.normal(size=(120, 3)), generator.integers(0, 2, 120)
        deals = Deals(4, 2, 0)
        before = cross_fitted(features, labels, conversations_of(120), classifier, deals)
        turned = labels.copy()
        turned[8:12] ^= 1  # all of c2
        after = cross_fitted(features, turned, conversations_of(120), classifier, deals)
        assert np.array_equal(before[8:12], after[8:12])
        assert not np.array_equal(before, after)

    def test_repeats_are_new_deals_and_are_averaged(self):
        conversations = conversations_of(80)
        calls = itertools.count(1)

        def numbered(_learned, _labels, asked):
            return np.full(len(asked), next(calls))

        found = cross_fitted(np.zeros((80, 1)), np.arange(80) % 2, conversations, numbered, Deals(3, 2, 5))
        first, second = folds_of(conversations, 3, 5), folds_of(conversations, 3, 6)
        assert not np.array_equal(first, second)
        assert found == pytest.approx(((1 + first) + (4 + second)) / 2)

    def test_where_one_label_is_left_its_share_answers(self):
        def never(*_):
            raise AssertionError("one label alone teaches nothing")

        deals = Deals(2, 2, 0)
        ones, mixed = np.ones(8, dtype=int), np.array([0, 1, 1])
        assert list(cross_fitted(np.zeros((8, 1)), ones, conversations_of(8, 1), never, deals)) == [1.0] * 8
        assert list(cross_fitted(np.zeros((3, 1)), mixed, ["c"] * 3, never, deals)) == [0.5] * 3

    def test_the_word_baselines_learn_what_words_tell(self):
        texts = [f"它的第{item}版好用吗？" if item % 2 else f"雨伞{item}号好用吗？" for item in range(120)]
        rows = [{**question(text), "conversation": f"c{item // 3}"} for item, text in enumerate(texts)]
        labels = np.arange(120) % 2
        found = word_baselines(rows, labels, Deals(3, 1, 0))
        assert list(found) == ["line", "trees"]
        for shares in found.values():
            assert ((shares > 0.5) == labels).mean() > 0.95
            assert np.array_equal(shares, np.round(shares, 6))


class Planted:
    """400 items of 100 conversations, 20 of whose labels are turned over, and sources that know the true ones."""

    def __init__(self):
        self.generator = np.random.default_rng(7)
        self.truth = self.generator.integers(0, 2, 400)
        self.wrong = np.zeros(400, dtype=bool)
        self.wrong[self.generator.choice(400, 20, replace=False)] = True
        self.labels = self.truth ^ self.wrong

    def source(self, skill):
        return skill * (2 * self.truth - 1) + self.generator.normal(size=400)

    def ranked(self, evidence, seed=0):
        needed = probability_needed(evidence, np.zeros((400, 1)), self.labels, conversations_of(400), seed=seed)
        return needed, np.argsort(-np.abs(self.labels - needed), kind="stable")

    def recall(self, evidence):
        """Of the planted flips, the share in the first 40 items; by chance 0.1."""
        return self.wrong[self.ranked(evidence)[1][:40]].mean() * 40 / 20


class TestEvidence:
    def test_sources_have_names_of_their_own(self):
        zeros = np.zeros(1)
        evidence = Evidence({"a": zeros}, {"a": zeros}, {"line": zeros})
        assert list(evidence.sources) == ["untouched a", "tuned a", "words: line"]

    @pytest.mark.parametrize("kind", ["vanilla", "tuned", "baselines"])
    def test_a_good_source_of_any_kind_ranks_planted_flips_first(self, kind):
        planted = Planted()
        evidence = Evidence({}, {}, {})._replace(**{kind: {"good": planted.source(2.0)}})
        assert planted.recall(evidence) >= 0.9

    def test_sources_together_find_more_than_each_alone(self):
        planted = Planted()
        weak = {f"weak{number}": planted.source(0.7) for number in range(4)}
        alone = [planted.recall(Evidence({name: values}, {}, {})) for name, values in weak.items()]
        together = planted.recall(Evidence(weak, {}, {}))
        assert together > max(alone)
        assert together >= 0.6

    def test_a_useless_source_is_ignored(self):
        planted = Planted()
        good, noise = planted.source(2.0), 5 * planted.generator.normal(size=400)
        without, _ = planted.ranked(Evidence({"good": good}, {}, {}))
        beside, _ = planted.ranked(Evidence({"good": good, "noise": noise}, {}, {}))
        assert np.abs(beside - without).mean() < 0.02
        assert planted.recall(Evidence({"good": good, "noise": noise}, {}, {})) >= 0.9

    def test_a_source_that_says_the_opposite_is_worth_as_much(self):
        planted = Planted()
        assert planted.recall(Evidence({"contrary": -planted.source(2.0)}, {}, {})) >= 0.9

    def test_endless_log_odds_are_held(self):
        planted = Planted()
        sure = np.where(planted.truth == 1, np.inf, -np.inf)
        needed, _ = planted.ranked(Evidence({"sure": sure}, {}, {}))
        assert ((needed > 0) & (needed < 1)).all()
        assert planted.recall(Evidence({"sure": sure}, {}, {})) == 1

    def test_equal_seeds_give_equal_probabilities(self):
        planted = Planted()
        evidence = Evidence({"good": planted.source(1.0)}, {}, {})
        first, again, other = (planted.ranked(evidence, seed)[0] for seed in (0, 0, 1))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert np.array_equal(first, np.round(first, 9))

    def test_log_odds_are_held_where_no_model_is_that_sure(self):
        assert log_odds(np.array([0.0, 0.5, 1.0])) == pytest.approx([-9.21024, 0, 9.21024], abs=1e-5)


SIZES = {"small": 1_000, "medium": 2_000, "large": 4_000}
#: Three rungs on three items that one log-odds a doubling moves up, down, and not.
UP_DOWN = {
    "small": np.array([-1.5, 1.5, 1.0]),
    "medium": np.array([-0.5, 0.5, 1.0]),
    "large": np.array([0.5, -0.5, 1.0]),
}


class TestGrowth:
    def test_its_sign_is_that_of_the_labels_support(self):
        assert growth(UP_DOWN, SIZES, np.ones(3, dtype=int)) == pytest.approx([1, -1, 0])
        assert growth(UP_DOWN, SIZES, np.zeros(3, dtype=int)) == pytest.approx([-1, 1, 0])

    @pytest.mark.parametrize("sizes", [{}, {"small": 1_000}, {"small": 1_000, "large": 1_000}])
    def test_one_size_has_no_growth(self, sizes):
        assert list(growth(UP_DOWN, sizes, np.ones(3, dtype=int))) == [0, 0, 0]
        assert not contradicted_by_size(UP_DOWN, sizes, np.ones(3, dtype=int)).any()

    def test_what_has_no_size_is_left_out(self):
        beside = {**UP_DOWN, "mixture": np.array([-9.0, 9.0, 9.0])}
        labels = np.array([1, 1, 0])
        assert np.array_equal(growth(beside, SIZES, labels), growth(UP_DOWN, SIZES, labels))
        assert list(contradicted_by_size(beside, SIZES, labels)) == [False, True, False]

    def test_growing_doubt_counts_once_the_largest_contradicts(self):
        doubt = {"small": np.array([3.0, 0.5]), "large": np.array([1.0, -0.5])}
        assert (growth(doubt, SIZES, np.ones(2, dtype=int)) < 0).all()
        assert list(contradicted_by_size(doubt, SIZES, np.ones(2, dtype=int))) == [False, True]


class Labels:
    """Items in random order of suspicion, each with a text of its own."""

    def __init__(self, count, seed=0):
        generator = np.random.default_rng(seed)
        self.ids = [f"item{number:04}" for number in range(count)]
        self.texts = [f"what about {number}?" for number in range(count)]
        self.suspicion = generator.permutation(count) / count

    def queue(self, *, share=0.1, order=None):
        """Ids of the queue in its order."""
        rows = range(len(self.ids)) if order is None else order
        ids = [self.ids[row] for row in rows]
        found = make_queue(ids, [self.texts[row] for row in rows], self.suspicion[list(rows)], share)
        return [ids[row] for row in found]

    def rank(self, item_id):
        """How many items are more suspicious."""
        return int((self.suspicion > self.suspicion[self.ids.index(item_id)]).sum())


class TestQueue:
    @pytest.mark.parametrize(("share", "suspects"), [(0.1, 20), (0.5, 100), (1.0, 200), (1e-9, 1)])
    def test_the_most_suspicious_share_is_looked_at_in_its_order(self, share, suspects):
        labels = Labels(200)
        assert [labels.rank(item_id) for item_id in labels.queue(share=share)] == list(range(suspects))

    def test_the_order_of_the_input_changes_nothing_even_among_ties(self):
        labels = Labels(120)
        labels.suspicion = np.round(labels.suspicion, 1)
        labels.texts = [f"what about {number % 50}?" for number in range(120)]
        expected = labels.queue(share=0.25)
        for seed in range(5):
            assert labels.queue(share=0.25, order=np.random.default_rng(seed).permutation(120).tolist()) == expected

    def test_ties_go_by_id(self):
        labels = Labels(30)
        labels.suspicion = np.zeros(30)
        assert labels.queue(share=0.2) == labels.ids[:6]

    def test_copies_of_a_text_stand_side_by_side_where_the_first_would(self):
        labels = Labels(12)
        labels.suspicion = np.arange(12, 0, -1) / 12
        for row, text in ((1, "Does it  work?"), (3, "ｄｏｅｓ it work？"), (5, "DOES IT WORK?\n")):
            labels.texts[row] = text
        queued = labels.queue(share=0.5)
        assert [int(item_id[4:]) for item_id in queued] == [0, 1, 3, 5, 2, 4]

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("Does it work?", "does  it work？", True),
            ("ＡＢＣ", "abc", True),
            ("straße", "STRASSE", True),
            ("雨伞 呢", "雨伞呢", True),
            ("雨伞呢", "雨伞吗", False),
            ("it works", "it work", False),
        ],
    )
    def test_texts_that_read_the_same_are_the_same(self, one, other, same):
        assert (same_text(one) == same_text(other)) is same

    def test_one_more_item_moves_few_others(self):
        more = Labels(401)
        before, after = more.queue(order=list(range(400))), more.queue()
        assert len({*before} ^ {*after}) <= 2
        stayed = {*before} & {*after}
        assert [item_id for item_id in before if item_id in stayed] == [
            item_id for item_id in after if item_id in stayed
        ]

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=30),
        st.floats(0.01, 1),
    )
    def test_any_labels_make_a_queue_of_each_item_once(self, items, share):
        labels = Labels(len(items))
        labels.suspicion = np.array([suspicion for suspicion, _ in items])
        labels.texts = [text for _, text in items]
        queued = labels.queue(share=share)
        assert len(queued) == len({*queued}) == max(1, round(share * len(items)))


class TestReasons:
    def said(self, values, label, by_size=False):
        """Of one item and sources that say these log-odds of "needed"."""
        evidence = Evidence({}, {}, {f"b{at}": np.array([float(value)]) for at, value in enumerate(values)})
        return next(reasons(evidence, np.array([label]), np.array([by_size])))

    def test_sources_against_the_label_are_named_the_surest_first(self):
        assert self.said([-1, -3, 2], 1) == "2 of 3 sources say not_needed: words: b1, words: b0"
        assert self.said([-1, -3, 2], 0) == "1 of 3 sources say needed: words: b2"

    def test_no_more_than_three_are_named(self):
        assert self.said([-1, -2, -3, -4], 1) == "4 of 4 sources say not_needed: words: b3, words: b2, words: b1, …"
        assert self.said([-1, -1, -1], 1).endswith("words: b0, words: b1, words: b2")

    def test_agreement_is_said_too(self):
        assert self.said([1, 2], 1) == self.said([-1, -2], 0) == "all 2 sources agree with the label"

    def test_growing_contradiction_is_added(self):
        assert self.said([-1], 1, by_size=True) == (
            "1 of 1 sources say not_needed: words: b0; larger untouched models contradict the label more"
        )
