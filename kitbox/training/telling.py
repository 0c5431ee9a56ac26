"""Tells how a training goes: what looks wrong, the journal's lines, and tensorboard's curves."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from kitbox.training.collapse import Monitor
from kitbox.training.preparation import Training
from kitbox.training.reports import EpochDone, Report, Scored, Warned


class Teller:
    """Writes down what is told of a training, in the first of its processes."""

    def __init__(self, training: Training) -> None:
        """Go on where the journal ends."""
        self._training = training
        self._curves = _tensorboard(training) if training.first else None
        self._monitor = Monitor(training.plugin.losses)
        for entry in training.run.entries():
            if entry["event"] == "epoch" and "spread" in entry.get("told", {}):
                self._monitor.warning(entry["losses"], entry["told"]["spread"])

    def epoch(self, report: EpochDone, planned: dict[str, float]) -> Iterable[Report]:
        """Yield an epoch's report with what its planner says, and what looks wrong in it."""
        report = replace(report, told=report.told | planned)
        spread = report.told.get("spread")
        text = None if spread is None else self._monitor.warning(report.losses, spread)
        yield report
        self._note("epoch", **vars(report))
        means = ("loss", "learning_rate", "images_per_second")
        drawn = {name: getattr(report, name) for name in means} | report.losses | report.told
        self._draw("train", drawn, report.epoch)
        if text is not None:
            yield Warned(report.epoch, text)
            self._note("warning", epoch=report.epoch, text=text)

    def scores(self, reports: Iterable[Report]) -> Generator[Report, None, None]:
        """Yield reports, and draw the scores among them."""
        for report in reports:
            yield report
            if isinstance(report, Scored):
                scores = {name: score.value for name, score in report.scores.by_metric.items()}
                self._draw("holdout", scores, report.epoch)

    def close(self) -> None:
        """Finish the curves."""
        if self._curves is not None:
            self._curves.close()

    def _note(self, event: str, **values: Any) -> None:
        if self._training.first:
            self._training.run.note(event, **values)

    def _draw(self, group: str, values: Mapping[str, float], epoch: int) -> None:
        if self._curves is not None:
            for name, value in values.items():
                self._curves.add_scalar(f"{group}/{name}", value, epoch)


def _tensorboard(training: Training) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(training.run.folder / "tensorboard")
