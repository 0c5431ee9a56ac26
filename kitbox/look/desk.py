"""The desk at which people decide: what holds now, the next decision, and taking it back."""

from collections.abc import Sequence
from threading import RLock

from kitbox.competition import decision_file
from kitbox.competition.decisions import Decision, Decisions
from kitbox.errors import KitboxError
from kitbox.look import checks
from kitbox.look.photographs import Photographs
from kitbox.look.standing import Standing
from kitbox.workspace import Workspace


class Desk:
    """Decisions of a workspace, read again whenever decisions.csv changes.

    A decision is on disk before anyone is told so: nothing is lost with the process.
    """

    def __init__(self, workspace: Workspace, photographs: Photographs) -> None:
        """Sit down; nothing is read or written yet."""
        self.path = workspace.decisions
        self.photographs = photographs
        self._lock = RLock()
        self._stamp: tuple[int, ...] | None = None
        self._standing = Standing(photographs, Decisions())
        self._done: list[tuple[Decision, ...]] = []  # since the start, for undo

    @property
    def standing(self) -> Standing:
        """What holds by the file as it is on disk; raises KitboxError for a faulty row."""
        with self._lock:
            stamp = self._seen()
            if stamp != self._stamp:
                self._standing = Standing(self.photographs, decision_file.read(self.path))
                self._stamp = stamp
            return self._standing

    def decide(self, wanted: Sequence[Decision]) -> tuple[Decision, ...]:
        """Write decisions that belong together, and return those that did not hold already.

        Raises KitboxError for one that makes no sense; then none is written.
        """
        with self._lock:
            standing, new = self.standing, []
            for decision in wanted:
                if not standing.holds(decision):
                    checks.refuse(decision, standing)
                    standing = standing.after(decision)
                    new.append(decision)
            if new:
                decision_file.add(self.path, *new)
                self._done.append(tuple(new))
            return tuple(new)

    def undo(self) -> tuple[Decision, ...]:
        """Take back what was decided last since the start; return what of it was still there."""
        with self._lock:
            if not self._done:
                raise KitboxError(
                    "nothing was decided since kitbox look started; "
                    "older decisions are taken back in the list of decisions"
                )
            checks.refuse_taking_back(self._done[-1], self.standing)
            last = reversed(self._done[-1])  # a person may have removed rows meanwhile
            gone = [row for row in last if decision_file.take_back(self.path, row)]
            self._done.pop()
            return tuple(reversed(gone))

    def take_back(self, decision: Decision) -> None:
        """Remove one decision, whenever it was made."""
        with self._lock:
            checks.refuse_taking_back([decision], self.standing)
            if not decision_file.take_back(self.path, decision):
                raise KitboxError(f"{self.path.name} has no such row any more; reload the page")
            for place in reversed(range(len(self._done))):
                if decision in self._done[place]:
                    left = list(self._done[place])
                    left.remove(decision)
                    self._done[place : place + 1] = [tuple(left)] if left else []
                    return

    def _seen(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns
