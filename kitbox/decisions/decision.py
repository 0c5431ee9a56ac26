"""A decision of a person about an image or an individual: a row of decisions.csv.

decisions.csv has the columns decision, subject, value and note, and where a page wrote a row also
by (who decided) and time (UTC, as 2026-11-30T12:00:00Z), which change no result. A row is one of

- `merge,LABEL,LABEL`: the first is the same individual as the second, whose name stays
- `drop,IMAGE`: leave it out of the labelled images and of an index; a test image cannot be dropped
- `wrong,IMAGE`: its label cannot be trusted; leave it out of the labelled images
- `label,IMAGE,LABEL`: it shows this individual, perhaps a new one
- `train,IMAGE`: it is never a query of the holdout
- `box,IMAGE,x0 y0 x1 y1`: crop it to this box, in pixels of the upright image
- `fine,IMAGE,IMAGE` or `fine,LABEL`: checked and correct; not shown as a suspect again
- `same,IMAGE,IMAGE` and `different,IMAGE,IMAGE`: both show one individual, or two; see `Links`
- `new,IMAGE`: it shows none of the individuals that have a label: the unknown label is its first
  answer, no labelled image its match, no known individual its cluster. A `same` with a labelled
  image, or a label of its own, ends that: then it is known who it is
- `unsure,IMAGE`: a person cannot tell who it shows, and takes back an own `same` or `new` about it;
  no step does anything else, and the matching desk does not ask that person again
- `poor,IMAGE`: the picture is too poor to tell; as `unsure`, but the matching desk asks nobody
  again and counts it

Of drop, wrong and label the last row of an image counts, of same and different the last row of a
pair in either order; else the last of a kind and a subject. A row of a page (with `by` or `time`)
about an image or a label that is in no list any more is counted and told; one written by hand is
refused, since its name may have a typing error.
"""

import math
from dataclasses import dataclass

from kitbox.errors import KitboxError, did_you_mean
from kitbox.records import Corners

# The meaning of each kind's value; '' for a kind without a value.
_VALUES = {
    "merge": "the label of the same individual",
    "drop": "",
    "wrong": "",
    "label": "the label of the individual",
    "train": "",
    "box": "the corners as 'x0 y0 x1 y1'",
    "fine": "the other image, or nothing for a label",
    "same": "the other image",
    "different": "the other image",
    "new": "",
    "unsure": "",
    "poor": "",
}
# Kinds that decide about the label of an image: the last row of any of them counts.
LABEL_KINDS = ("drop", "wrong", "label")
# Kinds that decide about a pair of images: the last row of either counts.
PAIR_KINDS = ("same", "different")
# Kinds that say of an image by itself who it shows, or why nobody can tell.
IMAGE_KINDS = ("new", "unsure", "poor")
# Kinds that change nothing: no label, image, box or link.
WITHOUT_EFFECT = ("fine", "unsure", "poor")


@dataclass(frozen=True)
class Decision:
    """A row: a decision about an image or a label, who made it and when, '' if no page wrote it.

    Raises KitboxError for an unknown kind and for a value that does not fit its kind.
    """

    kind: str
    subject: str
    value: str = ""
    note: str = ""
    by: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _VALUES:
            near = did_you_mean(self.kind, _VALUES)
            raise KitboxError(
                f"'{self.kind}' is no decision{near or '; there are ' + ', '.join(_VALUES)}"
            )
        if not self.subject:
            raise KitboxError(f"{self.kind} names no image or label; fill in the column 'subject'")
        meaning = _VALUES[self.kind]
        if self.value and not meaning:
            raise KitboxError(
                f"{self.kind} takes no value, here '{self.value}'; write comments into 'note'"
            )
        if meaning and not self.value and self.kind != "fine":
            raise KitboxError(f"{self.kind} of '{self.subject}' needs a value: {meaning}")
        if self.kind in ("merge", "fine", *PAIR_KINDS) and self.value == self.subject:
            raise KitboxError(f"{self.kind} names '{self.subject}' twice; remove the row")
        if self.kind == "box":
            corners(self.value)

    @property
    def from_page(self) -> bool:
        """Whether a page wrote the row; one that was typed has neither person nor time."""
        return bool(self.by or self.time)

    @property
    def words(self) -> str:
        """What was decided, as "same a.jpg b.jpg"."""
        return " ".join(part for part in (self.kind, self.subject, self.value) if part)

    @property
    def images(self) -> tuple[str, ...]:
        """The images that the row names, without those of `fine`, which may be labels."""
        if self.kind in ("merge", "fine"):
            return ()
        return (self.subject, self.value) if self.kind in PAIR_KINDS else (self.subject,)

    @property
    def asked(self) -> tuple[str, ...]:
        """The images that the row answers about: the first one, of a typed pair both."""
        return self.images[:1] if self.from_page else self.images


def corners(text: str) -> Corners:
    """Return the box that a cell holds; raise KitboxError where it is empty or no box."""
    try:
        x0, y0, x1, y1 = (float(corner) for corner in text.split())
    except ValueError as error:
        raise KitboxError(f"box '{text}' is not four numbers; write 'x0 y0 x1 y1'") from error
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        raise KitboxError(f"box '{text}' is empty; write 'x0 y0 x1 y1' with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1
