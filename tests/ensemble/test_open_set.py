import numpy as np
import pytest

from kitbox.competition import protocol
from kitbox.ensemble import open_set
from kitbox.errors import KitboxError
from kitbox.records import Holdout, Search, strings
from kitbox.retrieval import ranking
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.retrieval.ranking import insert_unknown
from kitbox.scoring import thresholds
from kitbox.scoring.ground_truth import GroundTruth
from tests.circle import competition, cosine, image_set, placed, ranking_of

LABELS = {"a": "Ahab", "b": "Boo", "c": "Cleo", "d": "Dora", "e": "Emma"}
ONE = placed({"a": 0, "b": 40, "c": 90, "d": 140, "e": 180, "q": 10})
OTHER = placed({"a": 60, "b": 20, "c": 180, "d": 100, "e": 140, "q": 10})
SEARCH = Search("", strings(["q"]), strings(["q"]), strings(list(LABELS)))


def test_features_are_four_similarities_their_gaps_and_those_of_other_members() -> None:
    found = open_set.query_features([ONE, OTHER], [SEARCH], image_set(LABELS), competition())
    first = [cosine(10, angle) for angle in (0, 40, 90, 140)]  # Ahab, Boo, Cleo, Dora
    theirs = [cosine(10, angle) for angle in (60, 20, 180, 100)]
    expected = [*first, *-np.diff(first), *theirs, False]  # the other's first is Boo
    np.testing.assert_allclose(found[0, :12], expected, atol=1e-6)
    assert found.shape == (1, 24)


def test_a_feature_marks_members_with_the_same_first_label() -> None:
    found = open_set.query_features([ONE, ONE], [SEARCH], image_set(LABELS), competition())
    assert (found[0, 11], found[0, 23]) == (1, 1)


def test_features_of_missing_labels_are_minus_one() -> None:
    small = Search("", strings(["q"]), strings(["q"]), strings(["a"]))
    empty = Search("x", strings(["r"]), strings(["q"]), strings([]))
    found = open_set.query_features([ONE], [small, empty], image_set(LABELS), competition())
    np.testing.assert_allclose(found[0, :4], [cosine(10, 0), -1, -1, -1], atol=1e-6)
    assert found[1].tolist() == [-1] * 7


class FirstFeature:
    """A model whose probability is the first feature."""

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.stack([1 - features[:, 0], features[:, 0]], axis=1)


def test_the_unknown_label_is_placed_by_its_probability() -> None:
    model = open_set.UnknownModel((FirstFeature(), FirstFeature()), np.array([0.6, 0.2, 0.1]))
    answers = ranking_of({name: [("Ahab", 0.9), ("Boo", 0.8)] for name in "xyz"})
    unknown = model.probability(np.array([[0.5], [0.3], [0.1]]))
    found = model.with_probabilities(answers, unknown)
    # where the individual is known with .7, Ahab is right with .42: more than .3 for the unknown
    np.testing.assert_allclose(found.similarity[1], [0.42 / 0.72, 0.14 / 0.44], atol=1e-6)
    placed_at = insert_unknown(found, "new_whale", 0.5).answers.tolist()
    assert placed_at == [["new_whale", "Ahab"], ["Ahab", "new_whale"], ["Ahab", "Boo"]]


def test_a_place_without_an_answer_has_no_probability() -> None:
    model = open_set.UnknownModel((FirstFeature(),), np.array([0.6, 0.2]))
    answers = ranking_of({"x": [("Ahab", 0.9), ("", -np.inf)]})
    assert model.with_probabilities(answers, np.array([0.0])).similarity.tolist() == [
        [1.0, -np.inf]
    ]


def scene(unknown: int = 30, known: int = 60):  # type: ignore[no-untyped-def]
    """Return a ranked holdout: unknown queries are far from every image, known ones near theirs."""
    generator = np.random.default_rng(0)
    names = [f"w{number}" for number in range(12)]
    train = {f"t{name}": name for name in names}
    angle_of = {f"t{name}": 30.0 * number for number, name in enumerate(names)}
    query, answers = {}, []
    for number in range(unknown + known):
        is_unknown, name = number < unknown, names[number % 12]
        near = 15 if is_unknown else 0
        angle_of[f"q{number}"] = angle_of[f"t{name}"] + near + generator.uniform(-5, 5)
        query[f"q{number}"] = f"s{number}" if is_unknown else name
        answers.append("new_whale" if is_unknown else name)
    split = Holdout(image_set(train), image_set(query), image_set(train), strings(answers))
    toy, embeddings = competition(), placed(angle_of)
    searches = protocol.searches(split.query, split.gallery, toy)
    plain = ranking.rank(neighbour_graphs(embeddings, searches), split.train, toy)
    features = open_set.query_features([embeddings], searches, split.train, toy)
    return plain, features, GroundTruth.of_holdout(split, searches, toy), toy


def test_unknown_queries_are_recognised_by_models_fitted_without_them() -> None:
    plain, features, known, toy = scene()
    found = open_set.cross_fit(plain, features, known, toy)
    decided = insert_unknown(found.ranking, "new_whale", 0.5)
    assert (decided.answers[:, 0] == known.expected).mean() > 0.95
    assert found.evidence["auc"]["value"] > 0.95
    assert found.evidence["auc_of_similarity"]["value"] == 1.0
    assert found.evidence["features"] == 7


def test_the_probability_of_a_query_does_not_depend_on_its_own_ground_truth() -> None:
    plain, features, known, toy = scene()
    part = thresholds.parts_of(known.individuals)
    changed = known.expected.copy()
    here = part == part[0]
    changed[here] = np.where(changed[here] == "new_whale", "w0", "new_whale")
    other = GroundTruth(**(vars(known) | {"expected": changed}))
    right, wrong = (open_set.cross_fit(plain, features, k, toy) for k in (known, other))
    assert (right.ranking.similarity[here] == wrong.ranking.similarity[here]).all()
    assert (right.ranking.similarity[~here] != wrong.ranking.similarity[~here]).any()


def test_too_few_unknown_queries_are_refused() -> None:
    plain, features, known, _ = scene(unknown=9)
    with pytest.raises(KitboxError) as caught:
        open_set.fit(features, known.expected == "new_whale", plain.answers == "w0")
    assert str(caught.value) == (
        "--new-label learned has 9 queries of unknown and 60 of known individuals to learn from "
        "and needs 10 of each; raise holdout.share or holdout.unknown_share"
    )


def test_hit_rates_never_rise() -> None:
    _, features, known, _ = scene()
    unknown = known.expected == "new_whale"
    hits = np.zeros((len(unknown), 3), dtype=np.bool_)
    hits[~unknown, 1] = True
    right = open_set.fit(features, unknown, hits).hit_rates
    np.testing.assert_allclose(right, [0.5 / 61] * 3)


def test_probabilities_are_cut_at_one_half_unless_the_rule_is_a_share() -> None:
    half = open_set.at_even_odds(competition()).threshold
    assert (half.rule, half.similarity) == ("fixed", 0.5)
    shared = competition(threshold={"rule": "share", "share": 0.3})
    assert open_set.at_even_odds(shared) == shared
    balanced = competition(threshold={"rule": "balanced"}, holdout={"unknown_share": 0.3})
    assert open_set.at_even_odds(balanced) == balanced
