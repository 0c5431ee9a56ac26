"""Scores a network where its time has come, and keeps the checkpoints of its run."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from kitbox.network import checkpoint as checkpoints
from kitbox.network.checkpoint import Origin
from kitbox.network.heads import TrainedNetwork
from kitbox.records import Progress
from kitbox.training import averaging, judging, stages
from kitbox.training.planning import Asked
from kitbox.training.preparation import Training
from kitbox.training.reports import Scored
from kitbox.training.state import State

# Batches from which averaged weights get the statistics of their batch normalisation.
_REFRESHING = 50


@dataclass(frozen=True)
class Keeper:
    """Scores and saves the network of a training, or the average of its weights if it has one."""

    training: Training
    state: State

    def after_epoch(self, asked: Asked) -> Generator[Progress | Scored, None, None]:
        """Score the network where the plugin says so, and keep it after the last epoch.

        `asked` is what was learnt in the epoch.
        """
        training, state, epoch = self.training, self.state, asked.epoch
        ends = epoch == training.plugin.epochs
        due = epoch % training.plugin.score_every == 0 or ends
        scores = due and training.options.on == "holdout"
        if state.averaged is not None:
            state.averaged.after_epoch(state.trained, epoch)
        if not (scores or ends):
            return
        judged = self._averaged(asked) if training.first else state.trained
        if scores:
            yield from self.score(judged, epoch)
        if ends:
            self.save(judged, training.run.last, epoch)

    def score(self, judged: TrainedNetwork, epoch: int) -> Generator[Progress | Scored, None, None]:
        """Score the holdout in the first process; keep a network that is the best so far."""
        training, state = self.training, self.state
        if training.first:
            scores = yield from judging.score(training, judged.network, frozen=epoch == 0)
            better = epoch > 0 and scores.main.value > state.best
            if better:
                state.best = scores.main.value
                self.save(judged, training.run.best, epoch)
            training.run.note("score", epoch=epoch, best=better, scores=scores.as_json())
            yield Scored(epoch, scores, better)
        training.fabric.barrier()

    def save(self, judged: TrainedNetwork, path: Path, epoch: int) -> None:
        """Write the checkpoint of a network with what it was made of, in the first process."""
        training, causes = self.training, self.training.causes
        if not training.first:
            return
        origin = Origin(
            training.name,
            training.plugin.model_dump(mode="json"),
            training.plugin.fingerprint,
            tuple(str(label) for label in training.lessons.label_map),
            epoch,
            causes.on,
            causes.data,
            causes.weights,
            causes.seed,
            causes.precision,
            causes.pseudo,
            training.lessons.pseudo_round,
            training.start.plugin,
        )
        checkpoints.save(path, judged, origin)

    def _averaged(self, asked: Asked) -> TrainedNetwork:
        """Return the network with averaged weights and statistics that belong to them."""
        training, state = self.training, self.state
        model = None if state.averaged is None else state.averaged.model
        if model is None:
            return state.trained
        items = Asked(training.lessons.images.image_ids, training.seed)
        items.batches, items.epoch = asked.batches[:_REFRESHING], asked.epoch
        phase = stages.at(training.plugin, asked.epoch)
        model.network.backbone_is_frozen = phase.frozen_backbone  # then its norms are too
        pixels = (pixels for pixels, _ in training.lesson_loader(phase.image_size, items))
        averaging.refresh(model.network, pixels, training.device, training.precision)
        return model
