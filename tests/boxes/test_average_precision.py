"""Average precision of boxes, against worked numbers and a slow oracle."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.boxes import average_precision
from kitbox.boxes.detections import Detections
from kitbox.errors import KitboxError
from kitbox.records import Floats
from tests.boxes.scenes import detected

BOX, SHIFTED, ELSEWHERE = (0, 0, 10, 10), (2, 0, 12, 10), (50, 50, 60, 60)  # IoU 2/3, 0


def drawn(*corners: tuple[int, int, int, int]) -> Floats:
    return np.array(corners, dtype=np.float32).reshape(-1, 4)


def ap50(
    truth: Sequence[Floats], detections: Sequence[Detections], threshold: float = 0.5
) -> float:
    matches = average_precision.match_boxes(truth, detections, (threshold,))
    return float(matches.average_precision(np.ones((1, len(truth))))[0, 0])


def test_correct_wrong_correct_of_two_boxes_is_five_sixths() -> None:
    detections = [detected((0.9, BOX), (0.8, ELSEWHERE)), detected((0.7, BOX))]
    truth = [drawn(BOX), drawn(BOX)]
    assert ap50(truth, detections) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    # read at 101 recalls, as COCO does: 51 of them need precision 1, 50 have 2/3
    assert ap50(truth, detections) != pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_wrong_box_less_confident_than_all_correct_ones_costs_nothing() -> None:
    assert ap50([drawn(BOX)], [detected((0.9, BOX), (0.1, ELSEWHERE))]) == 1.0


def test_the_best_precision_at_a_recall_or_more_counts() -> None:
    # wrong, correct, correct: the precision at the first correct box is 1/2, later 2/3
    detections = [detected((0.9, ELSEWHERE), (0.8, BOX)), detected((0.7, BOX))]
    assert ap50([drawn(BOX), drawn(BOX)], detections) == pytest.approx(2 / 3)


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    detections = [detected((0.9, BOX), (0.8, SHIFTED)), detected((0.7, BOX))]
    assert ap50([drawn(BOX), drawn(BOX)], detections) == pytest.approx(1 / 2 + 1 / 3)


def test_a_detected_box_takes_the_nearest_free_drawn_box() -> None:
    truth = [drawn(BOX, SHIFTED)]
    assert ap50(truth, [detected((0.9, BOX), (0.8, BOX))], 0.6) == 1.0
    assert ap50(truth, [detected((0.9, BOX), (0.8, BOX))], 0.7) == 0.5


def test_no_detection_is_zero() -> None:
    assert ap50([drawn(BOX)], [detected()]) == 0.0


def slow_ap50(truth: Sequence[Floats], detections: Sequence[Detections], threshold: float) -> float:
    listed = sorted(
        (
            (-c, row, n)
            for row, each in enumerate(detections)
            for n, c in enumerate(each.confidences)
        )
    )
    free = [list(map(tuple, each.tolist())) for each in truth]
    correct = []
    for _, row, n in listed:
        box = detections[row].boxes[n].tolist()
        best = max(free[row], key=lambda other: slow_iou(box, other), default=None)
        correct.append(best is not None and slow_iou(box, best) >= threshold)
        if correct[-1]:
            free[row].remove(best)
    precision = [sum(correct[: n + 1]) / (n + 1) for n in range(len(correct))]
    total = sum(map(len, truth))
    return sum(max(precision[n:]) for n in range(len(correct)) if correct[n]) / total


def slow_iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


CORNER = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(4, 7), st.integers(4, 7))
# confidences that differ: of equal ones the order would decide
CONFIDENCE = st.lists(st.integers(1, 999), unique=True, min_size=8, max_size=8)
IMAGES = st.lists(
    st.tuples(st.lists(CORNER, min_size=1, max_size=3), st.lists(CORNER, max_size=2)),
    min_size=1,
    max_size=4,
)


@given(IMAGES, CONFIDENCE, st.sampled_from([0.5, 0.75]))
def test_average_precision_equals_the_slow_oracle(
    images: list[tuple[list, list]], confidence: list[int], threshold: float
) -> None:
    left = iter(confidence)
    truth = [drawn(*true) for true, _ in images]
    detections = [
        detected(*sorted([(next(left) / 1000, box) for box in each], reverse=True))
        for _, each in images
    ]
    expected = slow_ap50(truth, detections, threshold)
    assert ap50(truth, detections, threshold) == pytest.approx(expected)


def test_an_image_with_weight_2_counts_as_two_images() -> None:
    truth = [drawn(BOX), drawn(BOX, ELSEWHERE), drawn(BOX)]
    detections = [
        detected((0.9, BOX)),
        detected((0.8, BOX), (0.7, SHIFTED)),
        detected((0.6, ELSEWHERE)),
    ]
    weights = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    values = average_precision.match_boxes(truth, detections, (0.5,)).average_precision(weights)[
        :, 0
    ]
    twice = [truth[0], truth[0], truth[1]], [detections[0], detections[0], detections[1]]
    assert values[0] == pytest.approx(ap50(*twice))
    assert values[1] == pytest.approx(ap50(truth, detections))
    assert values[2] == 0.0


def test_scores_are_average_precision_and_the_iou_of_crops() -> None:
    truth = [drawn(BOX), drawn((0, 0, 100, 50))]
    detections = [detected((0.9, SHIFTED)), detected((0.3, BOX))]
    scores = average_precision.score(truth, detections, 0.4, np.array([0, 1])).by_metric
    assert list(scores) == ["ap50", "ap", "crop_iou"]
    assert scores["ap50"].value == pytest.approx(1 / 2)
    # correct at .5, .55, .6 and .65, of ten thresholds
    assert scores["ap"].value == pytest.approx(4 / 10 / 2)
    # the second image stays whole, and its drawn box is half of it
    assert scores["crop_iou"].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert all(score.low <= score.value <= score.high for score in scores.values())
    assert {score.queries for score in scores.values()} == {2}


@pytest.mark.parametrize("several", ["best", "largest", "union"])
def test_crops_follow_the_rule_for_several_boxes(several: str) -> None:
    large, all_ = (0, 0, 55, 55), (0, 0, 60, 60)
    detections = [detected((0.9, ELSEWHERE), (0.8, large), (0.1, (0, 0, 90, 90)))]
    crops = {"best": ELSEWHERE, "largest": large, "union": all_}
    for rule, box in crops.items():
        score = average_precision.score([drawn(box)], detections, 0.4, np.array([0]), several)
        assert (score.by_metric["crop_iou"].value == pytest.approx(1.0)) == (rule == several)
    both = average_precision.score(
        [drawn(ELSEWHERE, large)], detections, 0.4, np.array([0]), several
    )
    assert both.by_metric["crop_iou"].value == pytest.approx(1.0)


def test_without_held_out_boxes_there_is_no_score() -> None:
    with pytest.raises(KitboxError, match="no image with a box is held out; raise --held-out"):
        average_precision.score([], [], 0.5, np.array([], dtype=np.int64))
