"""Findings on rows and files, and a collector that stops at them or reads on."""

from collections import Counter
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kitbox.competition import check_rules
from kitbox.competition.check_rules import KINDS, Action, Side
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError, more, one_line, readable

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition


Result = TypeVar("Result")
_DROP = 'set broken = "drop" in kitbox.toml to go on without'


@dataclass(frozen=True)
class DataFinding:
    """Something wrong with a row, a list or an image: its place and what is wrong.

    `where` is a list and its line, or a file. `kind` is one of `check_rules.KINDS`. The `action`
    "repair" reads it as it is meant, "keep" takes it as it is, "drop" leaves the image out of the
    labelled images and the index, "stop" stops the run.
    """

    where: str
    what: str
    _: KW_ONLY
    image_id: str = ""
    kind: str = "list"
    action: Action = "drop"

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", one_line(self.where))
        object.__setattr__(self, "what", one_line(self.what))
        # the name of a file may not be UTF-8
        object.__setattr__(self, "image_id", readable(self.image_id))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class FindingCollector:
    """Collects findings while lists are read.

    It raises KitboxError at the first serious one, or collects all of them if `lenient`.
    `decisions` about an image settle findings on its labelled rows: these are not collected.
    `settled` are the images left out that way, `named_files` the files that rows name, those of
    faulty rows included, and `rows` counts the rows read of each list.
    """

    competition: "Competition"
    _: KW_ONLY
    lenient: bool = False
    decisions: Decisions = field(default_factory=Decisions)
    findings: list[DataFinding] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    named_files: set[Path] = field(default_factory=set)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, side: Side, where: str, what: str, image_id: str = "") -> None:
        """Add a finding; raise KitboxError for one on a row that a query needs."""
        action = self.action(kind, side)
        finding = DataFinding(where, what, image_id=image_id, kind=kind, action=action)
        if action == "repair" and KINDS[kind].default == "repair" and not self.lenient:
            return  # as with files that are converted, only the data check tells of it
        needed = side == "test" and KINDS[kind].fallback is None
        if needed and action == "stop" and not self.lenient:
            # A query that cannot be answered is never left out: the leaderboard would miss it.
            raise KitboxError(what, where=where)
        self.findings.append(finding)

    def on_bad_row(self, list_name: str) -> Callable[[int, str], None] | None:
        """Return the callback for rows that a lenient reading of a list leaves out, else None."""
        if not self.lenient:
            return None
        return lambda line, what: self.findings.append(
            DataFinding(f"{list_name} line {line}", what, kind="list", action="stop")
        )

    def action(self, kind: str, side: Side) -> Action:
        """Return the action on a kind of finding."""
        return check_rules.action_for(
            kind, side, self.competition.check, self.competition.images.broken
        )

    def add_file(self, file: Path) -> None:
        """Remember, in a lenient reading, that a row names a file."""
        if self.lenient:
            self.named_files.add(file)

    def attempt(self, stage: Callable[[], Result]) -> Result | None:
        """Return a stage's result; a lenient reading turns its error into a finding and None."""
        try:
            return stage()
        except KitboxError as error:
            if not self.lenient:
                raise
            where = error.where or "kitbox.toml"
            self.findings.append(DataFinding(where, error.explanation, kind="list", action="stop"))
            return None

    def raise_first(self) -> None:
        """Raise KitboxError for the first finding that stops the run."""
        stopping = [finding for finding in self.findings if finding.action == "stop"]
        if stopping and not self.lenient:
            remedy = how_to_continue(stopping[0].kind, self.competition)
            raise stop_error(stopping, remedy)


def stop_error(findings: list[DataFinding], remedy: str = _DROP) -> KitboxError:
    """Return the error that stops a run at faulty rows or files: the first, with a remedy."""
    first = findings[0]
    what = f"{first.what}{more(len(findings) - 1)}"
    return KitboxError(what, where=first.where, fix=f"fix it, or {remedy}")


def how_to_continue(kind: str, competition: "Competition") -> str:
    """Return the setting by which a kind of finding no longer stops the run."""
    if competition.check.rule_of(kind) == "stop":
        return f"take '{kind}' out of check.stop in kitbox.toml"
    if kind == "truncated":
        return f'{_DROP}, or [check] keep = ["truncated"] to use what there is of them'
    return _DROP


def nothing_left_message(image_ids: list[str], side: Side, dropped: dict[str, str]) -> str | None:
    """Return the sentence for a side with no image left, labelled or index, else None.

    `dropped` maps an image id to the reason why it is left out.
    """
    reasons = [dropped[image_id] for image_id in image_ids if image_id in dropped]
    if side not in ("labelled", "index") or len(reasons) < len(image_ids):
        return None
    where = "in the index" if side == "index" else "among the labelled images"
    if not reasons:
        return f"no image is {where}; add some, or take decisions back that drop them"
    return f"no usable image is left {where}: {reasons[0]}{more(len(reasons) - 1)}"
