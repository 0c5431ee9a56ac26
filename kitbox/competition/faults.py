"""Faulty rows and files, and how a reading of lists goes on after one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kitbox.competition import check_rules
from kitbox.competition.check_rules import Action, Side
from kitbox.competition.decisions import Decisions
from kitbox.errors import KitboxError, more

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition


Result = TypeVar("Result")
_DROP = 'set broken = "drop" in kitbox.toml to go on without'


@dataclass(frozen=True)
class Fault:
    """A faulty row or file: where it stands, what is wrong and what a person can do.

    `kind` is one of `rules.KINDS`, `action` what is done about it.
    """

    where: str
    what: str
    image_id: str = ""
    kind: str = "list"
    action: Action = "drop"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Course:
    """A reading's way through the lists: it stops at the first trouble, or patiently notes all.

    What is `decided` of an image settles faults of its labelled rows: they are noted no more.
    `settled` are images left out so, `named` the files of all rows, those with a fault too.
    """

    competition: "Competition"
    patient: bool = False
    decided: Decisions = field(default_factory=Decisions)
    faults: list[Fault] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    named: set[Path] = field(default_factory=set)

    def note(self, kind: str, side: Side, where: str, what: str, image_id: str = "") -> None:
        """Note a fault; raise KitboxError where it is of a row that a query needs."""
        does = self.action(kind, side)
        fault = Fault(where, what, image_id, kind, does)
        needed = side == "test" and check_rules.KINDS[kind].kept is None
        if needed and does == "stop" and not self.patient:
            # A query that cannot be answered is never left out: the leaderboard would miss it.
            raise KitboxError(str(fault))
        self.faults.append(fault)

    def left_out(self, listed: str) -> Callable[[int, str], None] | None:
        """Return what is told of a row that a patient reading of a list leaves out, else None."""
        if not self.patient:
            return None
        return lambda line, what: self.faults.append(
            Fault(f"{listed} line {line}", what, kind="list", action="stop")
        )

    def action(self, kind: str, side: Side) -> Action:
        """Return what is done about a kind of finding."""
        return check_rules.action(
            kind, side, self.competition.check, self.competition.images.broken
        )

    def name(self, file: Path) -> None:
        """Note, in a patient reading, that a row names a file."""
        if self.patient:
            self.named.add(file)

    def tried(self, stage: Callable[[], Result]) -> Result | None:
        """Return a stage's result; a patient reading notes what stops it, and goes on with None."""
        try:
            return stage()
        except KitboxError as error:
            if not self.patient:
                raise
            where = error.where or "kitbox.toml"
            self.faults.append(Fault(where, error.message, kind="list", action="stop"))
            return None

    def halt(self) -> None:
        """Raise KitboxError for the first fault that stops the run."""
        stopping = [fault for fault in self.faults if fault.action == "stop"]
        if stopping and not self.patient:
            raise KitboxError(stop_message(stopping, way_on(stopping[0].kind, self.competition)))


def stop_message(faults: list[Fault], on: str = _DROP) -> str:
    """Return the sentence that stops a run at faulty rows or files, and how to go `on`."""
    return f"{faults[0]}{more(len(faults) - 1)}; mend it, or {on}"


def way_on(kind: str, competition: "Competition") -> str:
    """Return what a person can set so that a kind of finding no longer stops the run."""
    if competition.check.rule_of(kind) == "stop":
        return f"take '{kind}' out of check.stop in kitbox.toml"
    return _DROP


def nothing_left(image_ids: list[str], side: Side, dropped: dict[str, str]) -> str | None:
    """Return what to say of labelled images or an index of which none is kept, else None.

    `dropped` are image id → why it is left out.
    """
    why = [dropped[image_id] for image_id in image_ids if image_id in dropped]
    if side not in ("labelled", "index") or len(why) < len(image_ids):
        return None
    where = "in the index" if side == "index" else "among the labelled images"
    if not why:
        return f"no image is {where}; add some, or take decisions back that drop them"
    return f"no usable image is left {where}: {why[0]}{more(len(why) - 1)}"
