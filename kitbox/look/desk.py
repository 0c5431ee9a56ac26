"""The matching desk: queries, their candidates, and what each person decided about them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from kitbox.competition.decisions import IMAGE_KINDS, PAIR_KINDS, Decision
from kitbox.errors import KitboxError
from kitbox.fusion.probability_curve import ProbabilityCurve, fit_curve
from kitbox.look.photographs import Photographs
from kitbox.look.session import ReviewState
from kitbox.records import Embeddings, Holdout, Strings, strings
from kitbox.retrieval import knn

# Individuals beside a query, and photographs of each.
_CANDIDATES, _PHOTOGRAPHS = 10, 8
# Right and wrong first candidates that a curve of probabilities is fitted to, of each at least.
_FEWEST = 20
# Similarities held at a time: 64 MB of float32.
_BLOCK_SIZE = 16_000_000
ANSWERS = ("same", "different", *IMAGE_KINDS)


@dataclass(frozen=True)
class DeskCandidate:
    """An individual that a query may show, by its label and its photographs, the best one first."""

    label: str
    images: tuple[str, ...]
    similarity: float


@dataclass(frozen=True)
class DeskQuery:
    """A photograph to decide about, and its candidates, best first.

    `uncertainty` is the distance of the first candidate's probability from one half, or of its
    similarity from the threshold or from that of the second one; least first is worth deciding.
    """

    image: str
    candidates: tuple[DeskCandidate, ...]
    uncertainty: float = 0.0
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The queue of queries, the most uncertain first, and by what it is sorted.

    `order` is "threshold", "probability" or "gap"; `empty` is why there is no query.
    """

    queries: tuple[DeskQuery, ...] = ()
    order: str = ""
    threshold: float | None = None
    empty: str = (
        "Matching needs a network. Stop this with Ctrl-C and name plugins: kitbox look NAME"
    )

    def __len__(self) -> int:
        return len(self.queries)


class Shown(NamedTuple):
    """The individual that an image shows: its label, or the image's id where it has none."""

    name: str
    has_label: bool


@dataclass
class Opinion:
    """What one person decided about a query.

    `answer` is the last of same, new, unsure and poor, '' while only different ones were found.
    `same` and `different` are individuals, as `individual` names them.
    """

    answer: str = ""
    same: set[Shown] = field(default_factory=set)
    different: set[Shown] = field(default_factory=set)
    new: bool = False

    def add(self, row: Decision, individual: Shown) -> None:
        """Take a further row into account."""
        if row.kind in IMAGE_KINDS:
            self.answer, self.same, self.new = row.kind, set(), row.kind == "new"
        elif row.kind == "same":
            self.answer, self.same, self.new = "same", {individual}, False
            self.different.discard(individual)
        else:
            self.different.add(individual)
            self.same.discard(individual)
            if self.answer == "same" and not self.same:
                self.answer = ""

    def contradicts(self, other: "Opinion") -> bool:
        """Return whether both cannot be right."""
        if self.same & other.different or other.same & self.different:
            return True
        if self.same and other.same:
            return not self.same & other.same
        return bool((self.new and other.same) or (other.new and self.same))


# Query → person → what they decided about it.
Opinions = dict[str, dict[str, Opinion]]


def prepare_desk(
    embeddings: Embeddings,
    state: ReviewState,
    threshold: float | None,
    holdout: Holdout | None = None,
) -> Desk:
    """Return the queue: test photographs, else labelled ones, each against the labelled others.

    Photographs of unknown individuals are queries too. The most uncertain query comes first: by
    `threshold`, else by a probability where there are test photographs and `holdout`, whose queries
    no network of the embeddings has seen, has enough queries to fit it to, else by the gap between
    the first and the second candidate. Takes n² time.
    """
    known = _known(embeddings, state)
    if not known:
        return Desk(empty="No labelled photograph is here to compare with.")
    asked = _asked(embeddings, known, state)
    if not asked:
        return Desk(empty="No photograph is here to be asked about.")
    queries = list(_with_candidates(asked, known, embeddings, state))
    curve = None
    # a threshold that the user has set is one that decisions are made at
    if threshold is None and holdout is not None and has_test(state.photographs):
        curve = _fit(embeddings, known, state, holdout)
    order = "threshold" if threshold is not None else "gap" if curve is None else "probability"
    queries = [_measured(query, threshold, curve) for query in queries]
    queries.sort(key=lambda query: query.uncertainty)  # stable: equals stay as listed
    # networks have trained on the labelled photographs, which the holdout's queries tell nothing of
    sides = {query.image: state.photographs.side(query.image) for query in queries}
    queries = [
        query if sides[query.image] == "test" else replace(query, probability=None)
        for query in queries
    ]
    return Desk(queries=tuple(queries), order=order, threshold=threshold, empty="")


def has_test(photographs: Photographs) -> bool:
    """Return whether there are test photographs: then they are asked about."""
    return bool((photographs.sides == "test").any())


def individual(image_id: str, state: ReviewState) -> Shown:
    """Return the individual of an image; a label may be written as an image's id."""
    label = state.label(image_id) if image_id in state.photographs.rows else ""
    if label in ("", state.photographs.unknown):
        return Shown(image_id, has_label=False)
    return Shown(label, has_label=True)


def query_of(desk: Desk, image_id: str) -> DeskQuery:
    """Return the query of an image; raises KitboxError for an image that is none."""
    found = next((query for query in desk.queries if query.image == image_id), None)
    if found is None:
        raise KitboxError(f"'{image_id[:60]}' is no query of the desk; reload the page")
    return found


def candidate_of(query: DeskQuery, image_id: str) -> DeskCandidate | None:
    """Return the candidate that a photograph shows, None for ''; raises KitboxError for others."""
    found = next((one for one in query.candidates if image_id in one.images), None)
    if found is None and image_id:
        raise KitboxError(
            f"'{image_id[:60]}' shows no candidate of '{query.image}'; reload the page"
        )
    return found


def rows_about(image_id: str, desk_images: frozenset[str], state: ReviewState) -> list[Decision]:
    """Return the rows of decisions.csv about a query, in their order."""
    return [row for row in state.decisions.rows if _query_of(row, desk_images) == image_id]


def query_images(desk: Desk) -> frozenset[str]:
    """Return the images of all queries."""
    return frozenset(query.image for query in desk.queries)


def opinions(desk: Desk, state: ReviewState) -> Opinions:
    """Return what each person decided about each query that somebody decided about."""
    asked, found = query_images(desk), Opinions()
    for row in state.decisions.rows:
        query = _query_of(row, asked)
        if query is None:
            continue
        other = row.value if row.subject == query else row.subject
        person = found.setdefault(query, {}).setdefault(row.by, Opinion())
        person.add(row, individual(other, state))
    return found


def is_settled(of_query: dict[str, Opinion], person: str) -> bool:
    """Return whether a person is not asked a query any more; a poor picture is asked of nobody."""
    own = of_query.get(person)
    answered = own is not None and bool(own.answer)
    return answered or any(one.answer == "poor" for one in of_query.values())


def disagreements(given: Opinions) -> list[str]:
    """Return the queries about which two people cannot both be right."""
    return [
        query
        for query, people in given.items()
        if any(one.contradicts(other) for one, other in combinations(people.values(), 2))
    ]


def gone(state: ReviewState) -> list[str]:
    """Return the images of decisions that no list names any more."""
    named = {image for row in state.decisions.rows if row.kind in ANSWERS for image in row.images}
    return sorted(named - state.photographs.rows.keys())


def label_now(candidate: DeskCandidate, state: ReviewState) -> str:
    """Return the label of a candidate after the merges of this session."""
    return state.decisions.merged.get(candidate.label, candidate.label)


def linked_image(candidate: DeskCandidate, state: ReviewState) -> str:
    """Return the photograph of a candidate that an answer names: the best one in use, '' if none.

    One that was dropped or relabelled since the start no longer stands for the individual.
    """
    label = label_now(candidate, state)
    in_use = state.in_use(candidate.images)
    return next((image for image in in_use if state.label(image) == label), "")


def refusals(
    query: DeskQuery, candidate: DeskCandidate | None, state: ReviewState
) -> dict[str, str]:
    """Return answer → why it is refused about a query and a candidate, for those that are."""
    if state.is_excluded(query.image):
        sentence = f"'{query.image}' was dropped, or its label called wrong; take that back first"
        return dict.fromkeys((*PAIR_KINDS, "new"), sentence)
    found: dict[str, str] = {}
    label, has_label = individual(query.image, state)
    already = f"it is {label} already; Enter merges or relabels"
    if has_label:
        found["new"] = already
    if candidate is None:
        return found | dict.fromkeys(PAIR_KINDS, "there is no candidate")
    shown = label_now(candidate, state)
    if has_label:
        found["different" if shown == label else "same"] = already
    if not linked_image(candidate, state):
        sentence = f"no photograph of {shown} is in use any more; start kitbox look again"
        found |= dict.fromkeys(PAIR_KINDS, sentence)
    return found


def answer_rows(
    answer: str, query: DeskQuery, candidate: DeskCandidate | None, state: ReviewState
) -> list[Decision]:
    """Return the rows that an answer about a query and a candidate makes.

    An earlier `same` that it contradicts is replaced by `different`: the last answer counts.
    Raises KitboxError for an answer that there is not, or that is refused.
    """
    if answer not in ANSWERS:
        raise KitboxError(f"no answer '{answer[:20]}'; there are {', '.join(ANSWERS)}")
    if reason := refusals(query, candidate, state).get(answer):
        raise KitboxError(reason)
    image_id = "" if candidate is None else linked_image(candidate, state)
    return _rows(answer, query.image, image_id, state)


def _rows(answer: str, query: str, image_id: str, state: ReviewState) -> list[Decision]:
    if answer in ("unsure", "poor"):
        return [Decision(answer, query)]
    linked = [
        other
        for row, _ in state.decisions.linked.values()
        if row.kind == "same" and query in row.images
        for other in row.images
        if other != query and individual(other, state).has_label
    ]
    if answer == "new":
        return [*(Decision("different", query, other) for other in linked), Decision("new", query)]
    shown = individual(image_id, state)
    ended = [
        other
        for other in linked
        if (individual(other, state) == shown) == (answer == "different") and other != image_id
    ]
    return [
        *(Decision("different", query, other) for other in ended),
        Decision(answer, query, image_id),
    ]


def _query_of(row: Decision, asked: frozenset[str]) -> str | None:
    """Return the query that a row is about, None for another decision; the first image, if both."""
    if row.kind not in (*PAIR_KINDS, *IMAGE_KINDS):
        return None
    return next((image for image in row.images if image in asked), None)


def _known(embeddings: Embeddings, state: ReviewState) -> list[str]:
    """Return the labelled images of known individuals that are in use."""
    photographs = state.photographs
    return [
        image
        for image in state.in_use(embeddings.image_ids.tolist())
        if photographs.side(image) == "labelled" and individual(image, state).has_label
    ]


def _asked(embeddings: Embeddings, known: Sequence[str], state: ReviewState) -> list[str]:
    photographs, named = state.photographs, set(known)
    sides = {image: photographs.side(image) for image in embeddings.image_ids.tolist()}
    unknown = [
        image for image in state.in_use(sides) if sides[image] == "labelled" and image not in named
    ]
    test = [image for image, side in sides.items() if side == "test"]
    return [*(test or known), *unknown]


def _with_candidates(
    asked: Sequence[str], known: Sequence[str], embeddings: Embeddings, state: ReviewState
) -> Iterator[DeskQuery]:
    """Yield queries with their candidates; a query is no candidate of its own."""
    label_of = {image: state.label(image) for image in known}
    ordered = sorted(known, key=lambda image: (label_of[image], image))
    labels, starts = np.unique(strings([label_of[image] for image in ordered]), return_index=True)
    ends = np.append(starts[1:], len(ordered))
    gallery_ids, query_ids = strings(ordered), strings(list(asked))
    gallery, vectors = embeddings.of(gallery_ids).vectors, embeddings.of(query_ids).vectors
    places = {image: place for place, image in enumerate(ordered)}
    groups = state.photographs.groups(query_ids), state.photographs.groups(gallery_ids)
    width = max(_BLOCK_SIZE // max(len(ordered), 1), 1)
    for start in range(0, len(asked), width):
        similarity = vectors[start : start + width] @ gallery.T
        rows = range(start, min(start + width, len(asked)))
        for row, place in ((row, places[asked[row]]) for row in rows if asked[row] in places):
            similarity[row - start, place] = -np.inf
        if groups[0] is not None and groups[1] is not None:
            similarity[groups[0][start : start + width, None] != groups[1]] = -np.inf
        best = np.maximum.reduceat(similarity, starts, axis=1)
        columns = knn.best_columns(best, min(_CANDIDATES, len(labels)))
        for row in rows:
            values = similarity[row - start]
            found = [
                _candidate(str(labels[column]), values[starts[column] : ends[column]],
                           gallery_ids[starts[column] : ends[column]])
                for column in columns[row - start].tolist()
                if best[row - start, column] > -np.inf
            ]  # fmt: skip
            yield DeskQuery(asked[row], tuple(found))


def _candidate(label: str, similarity: np.ndarray, images: Strings) -> DeskCandidate:
    order = np.argsort(-similarity, kind="stable")[:_PHOTOGRAPHS]
    shown = [str(images[place]) for place in order if similarity[place] > -np.inf]
    return DeskCandidate(label, tuple(shown), float(similarity[order[0]]))


def _fit(
    embeddings: Embeddings, known: Sequence[str], state: ReviewState, holdout: Holdout
) -> ProbabilityCurve | None:
    """Return the probability that a first candidate is right by its similarity, None if unknown.

    It is fitted to the holdout's queries, each against the training side, as the desk compares test
    photographs with the labelled ones. Of a query of an unknown individual no candidate is right.
    """
    trained = set(holdout.train.image_ids.tolist())
    gallery = [image for image in known if image in trained]
    query_ids, answers = holdout.query.image_ids.tolist(), holdout.query_answers.tolist()
    answer_of = dict(zip(query_ids, answers, strict=True))
    embedded = set(embeddings.image_ids.tolist())
    queries = [image for image in state.in_use(query_ids) if image in embedded]
    if not gallery:
        return None
    found = [q for q in _with_candidates(queries, gallery, embeddings, state) if q.candidates]
    right = np.array([q.candidates[0].label == answer_of[q.image] for q in found], dtype=np.bool_)
    if min(right.sum(), (~right).sum()) < _FEWEST:
        return None
    return fit_curve(np.array([query.candidates[0].similarity for query in found]), right)


def _measured(
    query: DeskQuery, threshold: float | None, curve: ProbabilityCurve | None
) -> DeskQuery:
    """Return the query with its uncertainty; one without candidates comes last."""
    if not query.candidates:
        return DeskQuery(query.image, (), np.inf)
    first = query.candidates[0].similarity
    if threshold is not None:
        return DeskQuery(query.image, query.candidates, abs(first - threshold))
    if curve is not None:
        probability = float(curve.probability(np.array([first]))[0])
        return DeskQuery(query.image, query.candidates, abs(probability - 0.5), probability)
    second = query.candidates[1].similarity if len(query.candidates) > 1 else -1.0
    return DeskQuery(query.image, query.candidates, first - second)
