"""Kinds of findings on images and lists, and the rules that choose an action for each."""

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
    """A kind of finding: advice for the user, and the action unless a rule changes it.

    `default` "broken" means the value of `images.broken`. `fallback` is the action where the image
    is not left out: "repair" if kitbox can read what was meant, None if it cannot be read.
    `choices` are the rules that kitbox.toml may give. `row` marks a finding on a row of a list.
    """

    advice: str
    default: Literal["broken", "repair", "keep", "drop"]
    fallback: Literal["repair", "keep"] | None = "keep"
    choices: tuple[Action, ...] = ()
    row: bool = False


def _broken_file(advice: str) -> FindingKind:
    """Return the kind for a file that cannot be decoded."""
    return FindingKind(advice, "broken", None, ("drop", "stop"))


def _broken_row(advice: str) -> FindingKind:
    """Return the kind for a row that cannot be used."""
    return FindingKind(advice, "broken", None, ("drop", "stop"), row=True)


def _repaired_row(advice: str) -> FindingKind:
    """Return the kind for a row that can be read as it was meant, if the user agrees."""
    return FindingKind(advice, "broken", "repair", ("keep", "stop"), row=True)


def _other_name(advice: str) -> FindingKind:
    """Return the kind for a row that names its file in another way."""
    return FindingKind(advice, "repair", "repair", ("keep", "stop"), row=True)


def _converted_file(advice: str) -> FindingKind:
    """Return the kind for a file that is converted while it is read."""
    return FindingKind(advice, "repair", "repair", ("keep", "drop", "stop"))


def _odd_image(advice: str) -> FindingKind:
    """Return the kind for an image that the user may not want."""
    return FindingKind(advice, "keep", "keep", ("keep", "drop", "stop"))


def _notice(advice: str, fallback: Literal["repair", "keep"] = "keep") -> FindingKind:
    """Return the kind for a finding that is only reported."""
    return FindingKind(advice, fallback, fallback)


KINDS: dict[str, FindingKind] = {
    "list": FindingKind("correct the list or kitbox.toml", "broken", None),
    "unreadable": _broken_file("get the file again, or remove it"),
    "truncated": FindingKind(
        'get the file again, remove it, or keep what there is: keep = ["truncated"]',
        "broken",
        None,
        ("drop", "stop", "keep"),
    ),
    "empty": _broken_file("get the file again, or remove it"),
    "bomb": _broken_file("shrink it, or remove it"),
    "missing": _broken_row("get the file, or remove the row"),
    "ambiguous": _broken_row("write the folder before the name, or set images.folder_column"),
    "case": _other_name("nothing, or name the file as the list does"),
    "path": _other_name("nothing, or write the path of the file"),
    "outside": _broken_row("correct the name"),
    "no-name": _broken_row("fill it in, or remove the row"),
    "no-label": _broken_row("fill it in, or remove the row"),
    "two-labels": _broken_row("look at it and remove the wrong row"),
    "repeated-query": FindingKind("remove one row", "broken", None, row=True),
    "repeated": _repaired_row("remove all rows but one"),
    "blank-in-name": _repaired_row("remove the blank"),
    "blank-in-label": _repaired_row("remove the blank"),
    "wrong-suffix": _converted_file("nothing, or rename it"),
    "cmyk": _converted_file("nothing, or check its colours"),
    "16-bit": _converted_file("nothing, or save it with 8 bits"),
    "alpha": _converted_file("nothing, or check whether the transparent parts matter"),
    "palette": _converted_file("nothing, or look for the original"),
    "rotated": _converted_file("nothing, or draw boxes on the upright image"),
    "exif": _converted_file("nothing, or turn it upright"),
    "animated": _converted_file("nothing, or keep its best frame"),
    "tiny": _odd_image("look for the original, or drop it"),
    "blank": _odd_image("drop it"),
    "dark": _odd_image("look at it"),
    "bright": _odd_image("look at it"),
    "blurred": _odd_image("look at it"),
    "odd-aspect": _odd_image("look at it; a box would crop it"),
    "copy": _odd_image("'kitbox data duplicates' shows them side by side"),
    "copy-conflict": _odd_image("find out which individual it shows and correct the list"),
    "leak": _notice("gives an answer away; 'kitbox data duplicates' shows them side by side"),
    "near-copy": _notice("'kitbox data duplicates' shows them side by side"),
    "near-conflict": _notice("'kitbox data duplicates' shows them side by side"),
    "unknown-label": _notice(
        "set images.unknown_label, or decide 'fine' where it is the name of an individual"
    ),
    "time": _notice("write it as 2022-05-31 14:05"),
    "encounter": _notice("fill in the time or the encounter"),
    "gone": _notice("add the photographs again, or remove the rows"),
    "labels-alike": _notice("decide 'merge' where they are one individual, else 'fine'"),
    "box": _notice("correct the box", "repair"),
    "unlisted": FindingKind("add a row, or leave it", "drop", "keep"),
    "elsewhere": _notice("check that the list means the files in its folder"),
    "individual-level": _notice("set individual_level in kitbox.toml, 1 or 2"),
    "left-alone": FindingKind("convert or move what should be read", "drop", "keep"),
    "names-alike": _notice("rename one; some systems treat them as one file"),
    "odd-name": _notice("rename it if another program cannot read it"),
    "byte-order-mark": _notice("nothing, or save the list without it", "repair"),
    "crlf": _notice("nothing, or save the list with bare line feeds", "repair"),
}


class CheckRules(Value):
    """The thresholds that make an image odd, and the rules for each kind of finding.

    `drop` leaves images of these kinds out of the labelled images and the index; a test image
    always gets an answer. `stop` stops the run, `keep` goes on: with "truncated" what there is of
    such a file is used, also of a test image, and the rest is grey. `images.broken` decides about
    unreadable files and faulty rows where no rule does. Sides are in pixels, levels are of 8 bits;
    `image_stats.ImageStats` documents the measurements.
    """

    title: ClassVar[str] = "[check]"

    # no network input is below 32 pixels; of 3,394 flukes the narrowest has 58
    tiny_below: int = Field(default=32, ge=0)
    # a grey wall has 1, an empty sea 6 or more
    blank_below: float = Field(default=4.0, ge=0)
    # 95 % of the pixels are darker than this; of 3,394 flukes the darkest has 72
    dark_below: int = Field(default=60, ge=0, le=255)
    # 95 % of the pixels are brighter than this; three faded scans of 3,394 flukes
    bright_above: int = Field(default=190, ge=0, le=255)
    # a blur of 2 pixels in 448 gives .8; two of 3,394 flukes are below 1
    blurred_below: float = Field(default=1.0, ge=0)
    # longer side / shorter side; a square network input squeezes the image by as much
    aspect_above: float = Field(default=6.0, ge=1)
    drop: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rules_are_possible(self) -> "CheckRules":
        rule_of_name: dict[str, str] = {}
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
                        + (f"in {possible}" if possible else "reported; leave it out")
                    )
                if name in rule_of_name:
                    raise ValueError(
                        f"'{name}' is in check.{rule_of_name[name]} and in check.{rule}"
                    )
                rule_of_name[name] = rule
        return self

    @property
    def keep_truncated(self) -> bool:
        """Whether what there is of a truncated file is used."""
        return "truncated" in self.keep

    def rule_of(self, kind: str) -> str | None:
        """Return the user's rule for a kind: drop, stop, keep, or None."""
        rules = ("drop", "stop", "keep")
        return next((rule for rule in rules if kind in getattr(self, rule)), None)


def action_for(kind: str, side: Side, check: CheckRules, broken: Broken) -> Action:
    """Return the action on a finding of a kind; no other function decides it.

    A test image is never left out: an unreadable one is answered for as a grey image, and a row
    without a file stops the run. An image that no list names is left out, whatever else is wrong.
    """
    if side == "unlisted":
        return "drop"
    finding = KINDS[kind]
    default = broken if finding.default == "broken" else finding.default
    chosen = check.rule_of(kind) or default
    if kind == "list" or chosen == "stop":
        return "stop"
    if chosen == "keep" and kind == "truncated":
        return "keep"
    if side == "test" and finding.fallback is None:
        return "stop" if finding.row else "repair"
    if chosen == "drop" and side != "test" and not (finding.row and finding.fallback):
        return "drop"
    return finding.fallback or "drop"
