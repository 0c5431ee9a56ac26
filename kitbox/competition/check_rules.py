"""What may be wrong with images and lists, and what is done about it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from kitbox.errors import did_you_mean
from kitbox.value import Value

Action = Literal["repair", "keep", "drop", "stop"]
Side = Literal["labelled", "test", "index", "unlisted"]
Broken = Literal["stop", "drop"]


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: what a person can do, and what is done where no rule says otherwise.

    `default` "broken" stands for the value of `images.broken`. `fallback` is what going on means:
    "repair" where kitbox reads the thing as it should be, None where it cannot be read. `choices`
    are the rules that kitbox.toml may give.
    """

    advice: str
    default: Literal["broken", "repair", "keep", "drop"]
    fallback: Literal["repair", "keep"] | None = "keep"
    choices: tuple[Action, ...] = ()
    row: bool = False


def _file(advice: str) -> FindingKind:
    """Return the kind of a file that cannot be decoded."""
    return FindingKind(advice, "broken", None, ("drop", "stop"))


def _row(advice: str) -> FindingKind:
    """Return the kind of a row that cannot be used."""
    return FindingKind(advice, "broken", None, ("drop", "stop"), row=True)


def _mended(advice: str) -> FindingKind:
    """Return the kind of a row that is read as it was meant, once a person knows."""
    return FindingKind(advice, "broken", "repair", ("keep", "stop"), row=True)


def _converted(advice: str) -> FindingKind:
    """Return the kind of a file that is read as it is meant."""
    return FindingKind(advice, "repair", "repair", ("keep", "drop", "stop"))


def _picture(advice: str) -> FindingKind:
    """Return the kind of a picture that a person may not want."""
    return FindingKind(advice, "keep", "keep", ("keep", "drop", "stop"))


def _told(advice: str, fallback: Literal["repair", "keep"] = "keep") -> FindingKind:
    """Return the kind of what only a person can judge."""
    return FindingKind(advice, fallback, fallback)


KINDS: dict[str, FindingKind] = {
    "list": FindingKind("mend the list or kitbox.toml", "broken", None),
    "unreadable": _file("get the file again, or remove it"),
    "truncated": _file("get the file again, or remove it"),
    "empty": _file("get the file again, or remove it"),
    "bomb": _file("shrink it, or remove it"),
    "missing": _row("get the file, or remove the row"),
    "case": _row("name the file as the list does; some systems tell A from a"),
    "outside": _row("correct the name"),
    "no-name": _row("fill it in, or remove the row"),
    "no-label": _row("fill it in, or remove the row"),
    "two-labels": _row("look at it and remove the wrong row"),
    "asked-twice": FindingKind("remove one row", "broken", None, row=True),
    "repeated": _mended("remove all rows but one"),
    "blank-in-name": _mended("remove the blank"),
    "blank-in-label": _mended("remove the blank"),
    "wrong-suffix": _converted("nothing, or rename it"),
    "cmyk": _converted("nothing, or look whether its colours are right"),
    "16-bit": _converted("nothing, or save it with 8 bits"),
    "alpha": _converted("nothing, or look whether what is shown through matters"),
    "palette": _converted("nothing, or look for the original"),
    "rotated": _converted("nothing, or mind it where boxes are drawn"),
    "animated": _converted("nothing, or keep the best picture of it"),
    "tiny": _picture("look for the original, or drop it"),
    "blank": _picture("drop it"),
    "dark": _picture("look at it"),
    "bright": _picture("look at it"),
    "blurred": _picture("look at it"),
    "odd-aspect": _picture("look at it; a box would crop it"),
    "copy": _picture("'kitbox data duplicates' shows them side by side"),
    "copy-conflict": _picture("look whose picture it is and correct the list"),
    "leak": _told("a free answer; 'kitbox data duplicates' shows them side by side"),
    "near-copy": _told("'kitbox data duplicates' shows them side by side"),
    "near-conflict": _told("'kitbox data duplicates' shows them side by side"),
    "box": _told("correct the box", "repair"),
    "unlisted": FindingKind("add a row, or leave it", "drop", "keep"),
    "names-alike": _told("rename one; some systems take them for one file"),
    "odd-name": _told("rename it where another program stumbles over it"),
    "byte-order-mark": _told("nothing, or save the list without", "repair"),
    "crlf": _told("nothing, or save the list with bare line feeds", "repair"),
}


class CheckRules(Value):
    """When an image is odd, and what is done about each kind of finding.

    `drop` leaves images of these kinds out of the labelled images and the index; a test image is
    always answered for. `stop` refuses to go on, `keep` goes on; `images.broken` decides for files
    that cannot be read and rows that are wrong where no rule does. Sides are in pixels, levels are
    those of 8 bits; `facts.Facts` says what is measured.
    """

    title: ClassVar[str] = "[check]"

    # no network sees less than 32 pixels; of 3,394 flukes the narrowest has 58
    tiny_below: int = Field(default=32, ge=0)
    # a grey wall has 1, an empty sea 6 or more
    blank_below: float = Field(default=4.0, ge=0)
    # 95 % of the pixels are darker than this; of 3,394 flukes the darkest has 72
    dark_below: int = Field(default=60, ge=0, le=255)
    # 95 % of the pixels are brighter than this; three faded scans of 3,394 flukes
    bright_above: int = Field(default=190, ge=0, le=255)
    # blur of 2 pixels in 448 makes it .8, two of 3,394 flukes are below 1
    blurred_below: float = Field(default=1.0, ge=0)
    # longer side in terms of the shorter; a network's square would squeeze it as much
    aspect_above: float = Field(default=6.0, ge=1)
    drop: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rules_are_possible(self) -> "CheckRules":
        seen: dict[str, str] = {}
        for rule in ("drop", "stop", "keep"):
            for name in getattr(self, rule):
                if name not in KINDS:
                    raise ValueError(
                        f"check.{rule}: '{name}' is not a kind of finding"
                        f"{did_you_mean(name, KINDS)}; there are {', '.join(KINDS)}"
                    )
                if rule not in KINDS[name].choices:
                    possible = " or ".join(f"check.{one}" for one in KINDS[name].choices)
                    raise ValueError(
                        f"check.{rule}: '{name}' can only be "
                        + (f"in {possible}" if possible else "told; leave it out")
                    )
                if name in seen:
                    raise ValueError(f"'{name}' is in check.{seen[name]} and in check.{rule}")
                seen[name] = rule
        return self

    def rule_of(self, kind: str) -> str | None:
        """Return the rule that a person gave for a kind: drop, stop, keep, or None."""
        rules = ("drop", "stop", "keep")
        return next((rule for rule in rules if kind in getattr(self, rule)), None)


def action_for(kind: str, side: Side, check: CheckRules, broken: Broken) -> Action:
    """Return what is done about a finding: the one place where that is decided.

    A test image is never left out: one that cannot be decoded is answered for as a grey one, and a
    row without a file stops the run. What no list names is left out, whatever else is wrong.
    """
    if side == "unlisted":
        return "drop"
    known = KINDS[kind]
    default = broken if known.default == "broken" else known.default
    chosen = check.rule_of(kind) or default
    if kind == "list" or chosen == "stop":
        return "stop"
    if side == "test" and known.fallback is None:
        return "stop" if known.row else "repair"
    if chosen == "drop" and side != "test" and not (known.row and known.fallback):
        return "drop"
    return known.fallback or "drop"
