"""The matching desk: queries, their candidates, and what each person decided about them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kitbox.competition.image_files import photograph_of
from kitbox.dataset.candidate_labels import CandidateSearch
from kitbox.decisions.decision import IMAGE_KINDS, PAIR_KINDS, Decision
from kitbox.errors import KitboxError
from kitbox.fusion.probability_curve import ProbabilityCurve, fit_curve
from kitbox.look.photographs import Photographs
from kitbox.look.session import ReviewState
from kitbox.records import Embeddings, Floats, Holdout, Strings, rows_of, strings

if TYPE_CHECKING:  # torch takes seconds to load, and a page without plugins needs none
    from kitbox.identification.photograph_answers import Answer

# Known and new individuals beside a query, and photographs of each.
_CANDIDATES, _NEW, _PHOTOGRAPHS = 10, 5, 8
# Right and wrong first candidates that a curve of probabilities is fitted to, of each at least.
_FEWEST = 20
# Similarities held at a time: 64 MB of float32.
_BLOCK_SIZE = 16_000_000
ANSWERS = ("same", "different", *IMAGE_KINDS)


@dataclass(frozen=True)
class DeskCandidate:
    """An individual that a query may show, by its label and its photographs, the best one first.

    `probability` is that of 'kitbox identify', None without it. Of an individual that `is_new`, of
    photographs that were called new, the label is the first of `images`.
    """

    label: str
    images: tuple[str, ...]
    similarity: float
    probability: float | None = None
    is_new: bool = False


@dataclass(frozen=True)
class DeskQuery:
    """A photograph to decide about, and its candidates, best first.

    `certainty` is the probability of the likeliest answer of 'kitbox identify', or the distance of
    the first candidate's probability from one half, or of its similarity from the threshold or from
    that of the second one; least first is worth deciding. `probability` is that the first candidate
    is right; `new_probability` that it is a new individual, and `notes` are what identify noted.
    """

    image: str
    candidates: tuple[DeskCandidate, ...]
    certainty: float = 0.0
    probability: float | None = None
    new_probability: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The queue of queries, the most uncertain first, and by what it is sorted.

    `order` is "identified", "threshold", "probability" or "gap"; `empty` is why there is no query.
    `unused` is why answers of 'kitbox identify' are not shown, '' where they are or there are none.
    `then` is the command that takes the decisions, and `is_first` whether the page opens here.
    `embeddings` are those of the queries without a label, which may show one new individual.
    """

    queries: tuple[DeskQuery, ...] = ()
    order: str = ""
    threshold: float | None = None
    empty: str = (
        "Matching needs a network. Stop this with Ctrl-C and name plugins: kitbox look NAME"
    )
    unused: str = ""
    then: str = ""
    is_first: bool = False
    embeddings: Embeddings | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.queries)


class Shown(NamedTuple):
    """The individual that an image shows: its label, or an image's id where it has none.

    Of a new individual it is the id of one of its photographs.
    """

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
        # two new photographs may show one individual
        named = [any(shown.has_label for shown in one.same) for one in (self, other)]
        return bool((self.new and named[1]) or (other.new and named[0]))


# Query → person → what they decided about it.
Opinions = dict[str, dict[str, Opinion]]


def prepare_desk(
    embeddings: Embeddings,
    state: ReviewState,
    threshold: float | None,
    holdout: Holdout | None = None,
    *,
    labelled: "LabelledQueries | None" = None,
    answers: "Sequence[Answer]" = (),
) -> Desk:
    """Return the queue: test photographs, else labelled ones, each against the labelled others.

    Photographs of unknown individuals are queries too. The most uncertain query comes first: by
    `answers` of 'kitbox identify', which are shown as they are; else by `threshold`, else by a
    probability where there are test photographs and `holdout`, whose queries no network of the
    embeddings has seen, has enough queries to fit it to, else by the gap between the first and the
    second candidate. Labelled photographs that were compared already are taken from `labelled`; of
    others it takes the time of comparing each with all labelled ones.
    """
    known = _known(embeddings, state)
    if not known:
        return Desk(empty="No labelled photograph is here to compare with.")
    asked = _asked(embeddings, known, state)
    if not asked:
        return Desk(empty="No photograph is here to be asked about.")
    given = [_answered(one, state) for one in answers if one.image in set(asked)]
    compared = {} if labelled is None else {query.image: query for query in labelled.found}
    compared |= {query.image: query for query in given}
    left = [image for image in asked if image not in compared]
    compared |= {query.image: query for query in _with_candidates(left, known, embeddings, state)}
    queries = [compared[image] for image in asked]
    curve = None
    if any(query.new_probability is not None for query in given):
        order = "identified"
    elif threshold is not None:  # one that the user has set is one that decisions are made at
        order = "threshold"
    else:
        if holdout is not None and has_test(state.photographs):
            curve = _fit(embeddings, known, state, holdout)
        order = "gap" if curve is None else "probability"
    queries = [_measured(query, order, threshold, curve) for query in queries]
    queries.sort(key=lambda query: query.certainty)  # stable: equals stay as listed
    # networks have trained on the labelled photographs, which the holdout's queries tell nothing of
    sides = {query.image: state.photographs.side(query.image) for query in queries}
    queries = [
        query if sides[query.image] == "test" else replace(query, probability=None)
        for query in queries
    ]
    unnamed = [image for image in asked if not individual(image, state).has_label]
    return Desk(
        queries=tuple(queries),
        order=order,
        threshold=threshold,
        empty="",
        embeddings=embeddings.of(strings(unnamed)),
    )


def has_test(photographs: Photographs) -> bool:
    """Return whether there are test photographs: then they are asked about."""
    return bool((photographs.sides == "test").any())


def individual(image_id: str, state: ReviewState) -> Shown:
    """Return the individual of an image; a label may be written as an image's id."""
    label = state.label(image_id) if image_id in state.photographs.rows else ""
    if label in ("", state.photographs.unknown):
        number = state.links.individual_of.get(image_id, -1)
        return Shown(state.new_individuals.get(number, image_id), has_label=False)
    return Shown(label, has_label=True)


def with_new(desk: Desk, query: DeskQuery, state: ReviewState) -> DeskQuery:
    """Return a query with the new individuals that were found so far among its candidates.

    They come first where the query is likelier to be new than to be the first known individual, or
    without probabilities is more similar to one of them, and else last.
    """
    if desk.embeddings is None or query.image not in desk.embeddings.image_ids:
        return query
    links, whole = state.links, photograph_of(query.image)
    asked = strings(
        [
            image
            for image in state.in_use(desk.embeddings.image_ids.tolist())
            if links.individual_of.get(image, -1) in links.new and photograph_of(image) != whole
        ]
    )
    if not len(asked):
        return query
    numbers = strings([str(links.individual_of[image]) for image in asked.tolist()])
    own = strings([query.image])
    search = CandidateSearch(asked, numbers, state.photographs.groups(asked))
    gallery = desk.embeddings.of(search.image_ids).vectors
    similarity = desk.embeddings.of(own).vectors @ gallery.T
    [found] = search.candidates(similarity, _NEW, _PHOTOGRAPHS, state.photographs.groups(own))
    new = tuple(DeskCandidate(one[1][0], *one[1:], is_new=True) for one in found)
    known = query.candidates
    if not known or not new:
        leads = not known
    elif query.new_probability is not None:
        leads = query.new_probability > (known[0].probability or 0.0)
    else:
        leads = new[0].similarity > known[0].similarity
    return replace(query, candidates=(*new, *known) if leads else (*known, *new))


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


def reached(desk: Desk, state: ReviewState) -> dict[str, Shown]:
    """Return query → the individual that a chain of decisions about other photographs makes it.

    Of queries that have a label, or that somebody decided about, there is none: these are asked of
    each person. A new individual is named by a photograph that was called new.
    """
    links, given, new = state.links, opinions(desk, state), state.new_individuals
    found = {}
    for query in desk.queries:
        number = links.individual_of.get(query.image, -1)
        answered = any(one.answer for one in given.get(query.image, {}).values())
        if number < 0 or answered or individual(query.image, state).has_label:
            continue
        if number in links.label_of:
            found[query.image] = Shown(links.label_of[number], has_label=True)
        elif number in links.new:
            found[query.image] = Shown(new[number], has_label=False)
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
    if candidate.is_new:
        return candidate.label
    return state.decisions.merged.get(candidate.label, candidate.label)


def linked_image(candidate: DeskCandidate, state: ReviewState) -> str:
    """Return the photograph of a candidate that an answer names: the best one in use, '' if none.

    One that was dropped or relabelled since the start no longer stands for the individual.
    """
    label = label_now(candidate, state)
    in_use = state.in_use(candidate.images)
    if candidate.is_new:
        links = state.links
        return next((i for i in in_use if links.individual_of.get(i, -1) in links.new), "")
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
        sentence = (
            f"{shown} shows no new individual any more; reload the page"
            if candidate.is_new
            else f"no photograph of {shown} is in use any more; start kitbox look again"
        )
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
        # what was answered about another new photograph is not about this one
        if other != query
        and (
            individual(other, state).has_label
            or (row.subject == query and state.links.individual_of.get(other) in state.links.new)
        )
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


class LabelledQueries:
    """Queries among the labelled photographs, found while these are compared with each other."""

    def __init__(self, embeddings: Embeddings, state: ReviewState) -> None:
        """Find nothing yet; where there are test photographs, no labelled one is asked about."""
        known = [] if has_test(state.photographs) else _known(embeddings, state)
        self._search = _search(known, state) if known else None
        self._state = state
        self.found: list[DeskQuery] = []

    def add(self, start: int, cosines: Floats) -> None:
        """Look at the similarities (b, n) of the photographs from a place on, sorted by label."""
        if self._search is not None:
            rows = self._search.image_ids[start : start + len(cosines)]
            self.found += _queries(rows, cosines, self._search, self._state)


def _search(known: Sequence[str], state: ReviewState) -> CandidateSearch:
    images = strings(list(known))
    labels = strings([state.label(image) for image in known])
    return CandidateSearch(images, labels, state.photographs.groups(images))


def _queries(
    images: Strings, similarity: Floats, search: CandidateSearch, state: ReviewState
) -> Iterator[DeskQuery]:
    groups = state.photographs.groups(images)
    found = search.candidates(similarity, _CANDIDATES, _PHOTOGRAPHS, groups)
    for image, candidates in zip(images.tolist(), found, strict=True):
        yield DeskQuery(image, tuple(DeskCandidate(*candidate) for candidate in candidates))


def _with_candidates(
    asked: Sequence[str], known: Sequence[str], embeddings: Embeddings, state: ReviewState
) -> Iterator[DeskQuery]:
    """Yield queries with their candidates; a query is no candidate of its own."""
    if not asked:
        return
    search = _search(known, state)
    gallery = embeddings.of(search.image_ids).vectors
    query_ids = strings(list(asked))
    own = rows_of(query_ids, search.image_ids)
    width = max(_BLOCK_SIZE // len(search.image_ids), 1)
    for start in range(0, len(asked), width):
        images, of_images = query_ids[start : start + width], own[start : start + width]
        similarity = embeddings.of(images).vectors @ gallery.T
        similarity[np.flatnonzero(of_images >= 0), of_images[of_images >= 0]] = -np.inf
        yield from _queries(images, similarity, search, state)


def _answered(answer: "Answer", state: ReviewState) -> DeskQuery:
    """Return the query that 'kitbox identify' answered, with further photographs of each."""
    candidates = []
    for one in (*answer.candidates, *answer.others):
        members = state.members.get(state.decisions.merged.get(one.individual, one.individual), ())
        images = dict.fromkeys((*one.photographs, *members))
        shown = tuple(image for image in images if image in state.photographs.rows)
        candidates.append(
            DeskCandidate(one.individual, shown[:_PHOTOGRAPHS], one.similarity, one.probability)
        )
    return DeskQuery(
        answer.image,
        tuple(one for one in candidates if one.images),
        answer.certainty,
        new_probability=answer.new_probability,
        notes=answer.notes,
    )


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
    query: DeskQuery, order: str, threshold: float | None, curve: ProbabilityCurve | None
) -> DeskQuery:
    """Return the query with its certainty; one without candidates comes last."""
    if not query.candidates:
        return replace(query, certainty=np.inf)
    if order == "identified":
        # what identify was not asked about comes after its answers, which are below 1
        return query if query.new_probability is not None else replace(query, certainty=2.0)
    first = query.candidates[0].similarity
    if order == "threshold" and threshold is not None:
        return replace(query, certainty=abs(first - threshold))
    if curve is not None:
        probability = float(curve.probability(np.array([first]))[0])
        return replace(query, certainty=abs(probability - 0.5), probability=probability)
    second = query.candidates[1].similarity if len(query.candidates) > 1 else -1.0
    return replace(query, certainty=first - second)
