"""The pages of a catalogue: photographs beside whom they may show, and how right answers are."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from kitbox.identification import catalogue_audit, photograph_answers
from kitbox.identification.catalogue_audit import ENOUGH_PAIRS, CatalogueAudit, ReliabilityBin
from kitbox.identification.photograph_answers import NEW, UNDECIDED, Answer, Identification
from kitbox.records import ImageSet, Progress, strings
from kitbox.report import page, plots
from kitbox.report.page import Page, WrittenPage

# Cards of each verdict; the table has all.
_MAX_CARDS = 400
# Photographs of the likeliest individual, and of each other one.
_OF_FIRST, _OF_OTHERS = 2, 1


def write(found: Identification, path: Path) -> Generator[Progress, None, WrittenPage]:
    """Write the page of answers, in the order in which to look at them; yields Progress."""
    groups = {anchor: found.groups[kind] for anchor, kind in _ANCHORS.items()}
    shown = [answer for group in groups.values() for answer in group[:_MAX_CARDS]]
    queries = found.queries.of(strings([answer.image for answer in shown]))
    gallery = found.catalogue.images.of(
        strings(list(dict.fromkeys(image for answer in shown for image in _photographs(answer))))
    )
    parts: list[ImageSet] = [part for part in (queries, gallery) if len(part)]
    pictures = yield from page.collect_pictures(parts, found.workspace, found.catalogue.crop_margin)
    ids = [image for part in parts for image in part.image_ids.tolist()]
    numbers = {image: number for number, image in enumerate(ids)}
    values: dict[str, Any] = {
        "title": "Identified photographs",
        "kind": "the catalogue",
        "heading": "Who is on the photographs",
        "about": [
            *map(_sentence, photograph_answers.sentences(found)),
            "To confirm an answer, decide at the desk of 'kitbox look' or fill in the column "
            "confirmed of identified.csv; 'kitbox catalogue add' then adds it to the catalogue.",
        ],
        "counts": [
            (name, f"{number:,}", "")
            for name, number in found.counts.items()
            if number or name != "unreadable"
        ],
        "groups": [
            {
                "anchor": anchor,
                "title": title,
                "text": text,
                "cards": [_card(answer, anchor, numbers) for answer in groups[anchor][:_MAX_CARDS]],
                "left": max(len(groups[anchor]) - _MAX_CARDS, 0),
            }
            for anchor, title, text in _GROUPS
            if groups[anchor]
        ],
        "unreadable": [(image, why) for image, why in found.unreadable.items()],
        "method": [
            f"Network: {found.catalogue.network}.",
            *map(_sentence, (*found.catalogue.sentences, *found.catalogue.opened.notes)),
        ],
        "sections": list(
            page.non_empty_sections(
                ("counts", "Counts", True),
                *((anchor, title, groups[anchor]) for anchor, title, _ in _GROUPS),
                ("unreadable", "Unreadable", found.unreadable),
                ("method", "Method", True),
            )
        ),
    }
    yield Progress("write the page", 0, 1, "pages")
    content = Page(
        template="identified.html", values=values, pictures=pictures, scripts=("filter.js",)
    )
    return page.write(content, path)


# Anchors of the page → groups of answers.
_ANCHORS = {"undecided": UNDECIDED, "new": NEW, "identified": "identified"}

AUDIT = "audit.html"  # the name of the page of an audit in a catalogue's workspace


def write_audit(
    found: CatalogueAudit, network: str, sentences: Sequence[str], path: Path
) -> WrittenPage:
    """Write the page of how good a catalogue's answers are; `sentences` are on how they came."""
    first = found.recall[1]
    answers = [
        ("individual", found.reliability, "the photograph shows that individual"),
        ("new", found.new_reliability, "its individual is not in the catalogue"),
    ]
    curves = [
        (name, [(part.stated, part.right, part.pairs) for part in bins])
        for name, bins, _ in answers
        if bins
    ]
    caption = (
        "On the diagonal what is stated is right; above it, answers are right more often than they "
        f"say. Filled points have {ENOUGH_PAIRS} answers or more; a rim alone has fewer, and says "
        "little."
    )
    values: dict[str, Any] = {
        "title": "Audit of the catalogue",
        "kind": "the catalogue, asked about itself",
        "heading": f"The first individual is right in {first.value:.1%}",
        "about": [*map(_sentence, catalogue_audit.sentences(found))],
        "facts": _facts(found),
        "plot": plots.reliability("Stated against right", caption, curves,
                                  enough=ENOUGH_PAIRS) if curves else None,
        "tables": [
            (f"Probability of {'a new individual' if name == 'new' else 'an individual'}",
             f"Right means that {meaning}.",
             [bin_row(part) for part in bins])
            for name, bins, meaning in answers
            if bins
        ],
        "heads": BIN_HEADS,
        "method": [f"Network: {network}.", *map(_sentence, sentences)],
        "sections": list(
            page.non_empty_sections(
                ("counts", "Counts", True),
                ("reliability", "How right probabilities are", curves),
                ("method", "Method", True),
            )
        ),
    }  # fmt: skip
    return page.write(Page(template="audit.html", values=values), path)


BIN_HEADS = ("probability", "answers", "stated", "right")


def bin_row(part: ReliabilityBin) -> tuple[str, ...]:
    """Return a bin as a row below BIN_HEADS."""
    span = f"{part.low:g} – {part.high:g}"
    return span, f"{part.pairs:,}", f"{part.stated:.3f}", f"{part.right:.3f}"


def _facts(found: CatalogueAudit) -> list[tuple[str, str, str]]:
    """Return (name, value, note) of the numbers that are most asked for."""
    rows = [
        (
            f"the first {k}" if k > 1 else "the first",
            f"{score.value:.1%}",
            f"{score.low:.1%} – {score.high:.1%}; by chance {found.chance[k]:.1%}",
        )
        for k, score in found.recall.items()
    ]
    rows += [
        (
            f"the first {k}, met once" if k > 1 else "the first, met once",
            f"{score.value:.1%}",
            f"{score.low:.1%} – {score.high:.1%}; as if each individual had one encounter",
        )
        for k, score in found.recall_once.items()
    ]
    rows.append(
        ("to look through", f"{found.look_through}", f"by chance {found.look_through_by_chance}")
    )
    if found.new_recall is not None:
        rows.append(("new ones found", f"{found.new_recall:.1%}", "at 5 % false alarms"))
    if found.worst_gap is not None:
        rows.append(
            (
                "off by at most",
                f"{found.worst_gap:.3f}",
                f"where {ENOUGH_PAIRS} answers have one like it",
            )
        )
    return rows


_GROUPS = (
    (
        "undecided",
        "Undecided",
        "No answer is probable enough. Those that a look may decide come first.",
    ),
    ("new", "New?", "Probably individuals that the catalogue does not have."),
    ("identified", "Identified", "By individual."),
)


def _card(answer: Answer, kind: str, numbers: dict[str, int]) -> dict[str, Any]:
    lines = []
    if answer.new_probability is not None:
        lines.append(f"A new individual: {answer.new_probability:.2f}.")
    candidates = []
    for place, candidate in enumerate(answer.candidates):
        for image in candidate.photographs[: _shown(place)]:
            text = _number(candidate.probability, candidate.similarity)
            candidates.append(
                {
                    "number": numbers[image],
                    "individual": candidate.individual,
                    "text": text,
                    "file": image.rpartition("/")[2],
                    "alt": f"{candidate.individual}, {image}",
                }
            )
    return {
        "kind": kind,
        "verdict": answer.verdict,
        "image": answer.image,
        "number": numbers[answer.image],
        "alt": f"{answer.image}, to identify",
        "candidates": candidates,
        "lines": [*lines, *map(_sentence, answer.notes)],
    }


def _photographs(answer: Answer) -> Sequence[str]:
    """Return the photographs of the catalogue on an answer's card."""
    return [
        image
        for place, candidate in enumerate(answer.candidates)
        for image in candidate.photographs[: _shown(place)]
    ]


def _shown(place: int) -> int:
    """Return how many photographs of the individual at a place are on a card."""
    return _OF_FIRST if place == 0 else _OF_OTHERS


def _number(probability: float | None, similarity: float) -> str:
    if probability is None:
        return f"similarity {similarity:.3f}"
    return f"{probability:.2f}"


def _sentence(text: str) -> str:
    """Return a text with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."
