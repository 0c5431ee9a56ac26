import numpy as np
import pytest

from kitbox.fusion.label_blend import LabelBlend, cross_fit_blend
from kitbox.fusion.probability_curve import ProbabilityCurve
from kitbox.records import Floats, strings
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.scoring.thresholds import parts_of

PLAIN = ProbabilityCurve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
HALVED = ProbabilityCurve(np.array([0.0, 1.0]), np.array([0.0, 0.5]))


def measured(values: Floats, *, step: int = 1) -> LabelSimilarities:
    queries, labels = values.shape
    rows = [slice(start, start + step) for start in range(0, queries, step)]
    return LabelSimilarities(
        strings([f"q{row}" for row in range(queries)]),
        strings([f"whale {column:02}" for column in range(labels)]),
        iter([(each, values[each]) for each in rows]),
    )


def whole(found: LabelSimilarities) -> Floats:
    return np.concatenate([block for _, block in found.blocks])


def test_a_blend_is_the_mean_of_both_probabilities_by_their_share() -> None:
    classes = np.array([[0.8, 0.2], [0.4, 0.6]], dtype=np.float32)
    near = np.array([[0.4, 0.6], [0.2, -np.inf]], dtype=np.float32)
    blend = LabelBlend(0.25, PLAIN, HALVED)
    found = whole(blend.blended(measured(classes, step=2), measured(near)))
    # .25 · .8 + .75 · .5 · .4; a label without images stays without
    np.testing.assert_allclose(found, [[0.35, 0.275], [0.175, -np.inf]], rtol=1e-6)


def drawn(queries: int = 150, labels: int = 30) -> tuple[Floats, Floats, list[str]]:
    """Return two noisy views of the right labels of queries."""
    rng = np.random.default_rng(0)
    right = np.arange(queries) % labels
    views = rng.normal(size=(2, queries, labels))
    views[:, np.arange(queries), right] += 2
    expected = [f"whale {label:02}" for label in right]
    return views[0].astype(np.float32), views[1].astype(np.float32), expected


def hits(values: Floats, expected: list[str]) -> float:
    return float(
        np.mean(
            [
                f"whale {column:02}" == label
                for column, label in zip(values.argmax(axis=1), expected, strict=True)
            ]
        )
    )


def test_a_blend_is_better_than_either_where_both_err_apart() -> None:
    classes, near, expected = drawn()
    named = strings(expected)
    found, blend = cross_fit_blend(0.5, [measured(classes)], [measured(near)], named, named)
    blended = whole(found[0])
    assert hits(blended, expected) > max(hits(classes, expected), hits(near, expected)) + 0.05
    assert ((blended > 0) & (blended < 1)).all()
    again = whole(blend.blended(measured(classes), measured(near)))
    assert hits(again, expected) == pytest.approx(hits(blended, expected), abs=0.05)


def test_labels_of_a_part_change_nothing_in_its_own_blend() -> None:
    classes, near, expected = drawn()
    named = strings(expected)
    part = parts_of(named) == 3
    others = named.copy()
    others[part] = "whale 00"  # wrong answers
    found = [
        whole(cross_fit_blend(0.5, [measured(classes)], [measured(near)], right, named)[0][0])
        for right in (named, others)
    ]
    np.testing.assert_array_equal(found[0][part], found[1][part])
    assert (found[0][~part] != found[1][~part]).any()


def test_the_queries_of_several_searches_are_fitted_together() -> None:
    classes, near, expected = drawn()
    named = strings(expected)
    one, _ = cross_fit_blend(0.5, [measured(classes)], [measured(near)], named, named)
    several, _ = cross_fit_blend(
        0.5,
        [measured(classes[:70]), measured(classes[70:])],
        [measured(near[:70]), measured(near[70:])],
        named,
        named,
    )
    np.testing.assert_array_equal(whole(one[0]), np.concatenate([whole(each) for each in several]))
