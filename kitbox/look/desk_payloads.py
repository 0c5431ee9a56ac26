"""Values of the matching desk that the page receives as JSON."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from kitbox.decisions.decision import IMAGE_KINDS, PAIR_KINDS, Decision
from kitbox.errors import KitboxError, counted
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.look import desk, payloads, point_pairs
from kitbox.look.desk import Desk, DeskCandidate, DeskQuery, Opinion
from kitbox.look.review_items import Review
from kitbox.look.session import ReviewState
from kitbox.records import strings
from kitbox.workspace import Workspace


def counts(shown: Desk, state: ReviewState, person: str) -> dict[str, int]:
    """Return how many queries are open for a person, and how many there are."""
    settled = _settled(shown, state, person) if len(shown) else set()
    return {"open": len(shown) - len(settled), "all": len(shown)}


def overview(shown: Desk, state: ReviewState, person: str) -> dict[str, Any]:
    """Return the queue for a person: which queries are settled, and the progress of everyone.

    `settled` has 1 for each query that is not asked any more, in the order of the queue; `decided`
    counts those that the person answered, `reached` those that only other decisions answer.
    `results` counts the answers of the person by kind, and the individuals that they found.
    """
    given = desk.opinions(shown, state)
    names = {person, *(name for of_query in given.values() for name in of_query)}
    settled = _settled(shown, state, person)
    return {
        "person": person,
        "order": shown.order,
        "threshold": shown.threshold,
        "empty": shown.empty,
        "unused": shown.unused,
        "then": shown.then,
        "settled": [int(query.image in settled) for query in shown.queries],
        "people": [{"name": name, "decided": _answered(given, name)} for name in sorted(names)],
        "decided": _answered(given, person),
        "reached": len(desk.reached(shown, state)),
        "poor": sum(
            any(one.answer == "poor" for one in of_query.values()) for of_query in given.values()
        ),
        "results": _results(given, person, state),
        "disagreements": len(desk.disagreements(given)),
        "gone": desk.gone(state),
        "contradictions": state.contradictions,
    }


def _settled(shown: Desk, state: ReviewState, person: str) -> set[str]:
    """Return the queries that a person is not asked any more."""
    given = desk.opinions(shown, state)
    found = {image for image, people in given.items() if desk.is_settled(people, person)}
    return found | desk.reached(shown, state).keys()


def _results(given: desk.Opinions, person: str, state: ReviewState) -> dict[str, int]:
    """Count the answers of a person; the same as a new photograph is new."""
    links, answers, individuals = state.links, Counter[str](), set[str]()
    for image, people in given.items():
        one = people.get(person)
        if one is None:
            continue
        chain = links.label_of.get(links.individual_of.get(image, -1), "")
        labels = {shown.name for shown in one.same if shown.has_label} or {chain} - {""}
        is_new = one.answer == "same" and not labels
        answers["new" if is_new else one.answer] += 1
        individuals |= labels if one.answer == "same" else set()
    found = {answer: answers[answer] for answer in ("same", *IMAGE_KINDS)}
    return found | {"individuals": len(individuals)}


def query(shown: Desk, place: int, state: ReviewState, person: str) -> dict[str, Any]:
    """Return a query with its candidates, and what was decided about it.

    `seen` counts the rows about it, so that a later answer can tell which came meanwhile. Raises
    KitboxError for a place that the queue does not have.
    """
    if not 0 <= place < len(shown):
        raise KitboxError(f"there is no query {place + 1}; there are {len(shown)}")
    asked = desk.with_new(shown, shown.queries[place], state)
    rows = desk.rows_about(asked.image, desk.query_images(shown), state)
    given = desk.opinions(shown, state)
    of_query = given.get(asked.image, {})
    by_others = desk.reached(shown, state).get(asked.image)
    return {
        "place": place,
        "image": payloads.large_image(asked.image, state),
        "probability": _rounded(asked.probability),
        "newProbability": _rounded(asked.new_probability),
        "notes": asked.notes,
        "refused": desk.refusals(asked, None, state),
        "candidates": [_candidate(one, asked, rows, state) for one in asked.candidates],
        "answers": [_opinion(name, one) for name, one in of_query.items()],
        "disagree": asked.image in desk.disagreements({asked.image: of_query}),
        "settled": by_others is not None or desk.is_settled(of_query, person),
        "reached": None if by_others is None else by_others._asdict(),
        "seen": len(rows),
    }


def disagreements(shown: Desk, state: ReviewState) -> list[dict[str, Any]]:
    """Return the queries about which people disagree, with everyone's answer."""
    given = desk.opinions(shown, state)
    places = {asked.image: place for place, asked in enumerate(shown.queries)}
    return [
        {
            "place": places[image],
            "image": payloads.tile(image, state),
            "answers": [_opinion(name, one) for name, one in given[image].items()],
        }
        for image in sorted(desk.disagreements(given), key=places.__getitem__)
    ]


def points(
    first: str, second: str, review: Review, state: ReviewState, workspace: Workspace
) -> dict[str, Any]:
    """Return the points that two photographs share, by SIFT, and a sentence on them.

    `pairs` have x and y in the first, x and y in the second, and whether they agree with one
    surface. Raises KitboxError where there can be none.
    """
    photographs = review.photographs
    images = photographs.images.of(strings([first, second]))
    corners = [state.box(image) or (np.nan,) * 4 for image in (first, second)]
    images = replace(images, boxes=np.array(corners, dtype=np.float32))
    settings = MatchSettings.parse("sift")
    with review.matching:  # one at a time: the cache of keypoints is a database
        found = point_pairs.pair_points(settings, images, first, second, workspace)
    ends = np.concatenate([found.first, found.second], axis=1).round(1)
    count, agree = len(ends), int(found.agrees.sum())
    return {
        "pairs": [
            [*end, bool(agrees)]
            for end, agrees in zip(ends.tolist(), found.agrees.tolist(), strict=True)
        ],
        "note": f"SIFT matches {counted(count, 'point')}, "
        + (f"{agree} of them on one surface" if agree else "which do not agree on a surface"),
    }


def signed(row: Decision) -> dict[str, str]:
    """Return what was decided, by whom and when."""
    return {"kind": row.kind, "value": row.value, "by": row.by, "time": row.time}


def _answered(given: desk.Opinions, person: str) -> int:
    own = (of_query.get(person) for of_query in given.values())
    return sum(one is not None and bool(one.answer) for one in own)


def _rounded(probability: float | None) -> float | None:
    """Return a probability with the digits of identified.csv."""
    return None if probability is None else round(probability, 3)


def _opinion(name: str, one: Opinion) -> dict[str, Any]:
    return {
        "by": name,
        "answer": one.answer,
        "same": sorted(shown.name for shown in one.same),
        "different": sorted(shown.name for shown in one.different),
        "new": one.new,
    }


def _candidate(
    candidate: DeskCandidate, query: DeskQuery, rows: list[Decision], state: ReviewState
) -> dict[str, Any]:
    """Return a candidate under its present label, with the last answer of each person about it.

    `refused` maps the answers that it does not take to the reason.
    """
    label = desk.label_now(candidate, state)
    shown = desk.individual(label, state) if candidate.is_new else desk.Shown(label, has_label=True)
    last: dict[str, Decision] = {}
    for row in rows:
        others = (image for image in row.images if image != query.image)
        if row.kind in PAIR_KINDS and any(desk.individual(i, state) == shown for i in others):
            last[row.by] = row
    return {
        "label": label,
        "isNew": candidate.is_new,
        "refused": desk.refusals(query, candidate, state),
        "similarity": round(candidate.similarity, 4),
        "probability": _rounded(candidate.probability),
        "images": [payloads.large_image(image, state) for image in candidate.images],
        "photographCount": len(
            candidate.images if candidate.is_new else state.members.get(label, [])
        ),
        "answers": [signed(row) for row in last.values()],
    }
