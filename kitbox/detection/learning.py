"""Teaches a detector from boxed images, epoch by epoch, and goes on where it stopped."""

import io
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from kitbox.detection import examples
from kitbox.detection.boxed import Boxed
from kitbox.detection.kept import damaged
from kitbox.detection.network import Detector
from kitbox.detection.recipe import Recipe
from kitbox.errors import KitboxError
from kitbox.files import write_bytes
from kitbox.images import loading
from kitbox.network import depthwise, inference
from kitbox.records import Floats, Progress

# Gradients of the first steps, when the heads know nothing, are longer than this.
_LONGEST_GRADIENT = 5.0
# The backbone comes with weights; the heads come with none.
_BACKBONE_RATE = 0.3


def learn(
    boxed: Boxed,
    recipe: Recipe,
    source: Path | str,
    state: Path,
    *,
    device: str,
    precision: str,
    workers: int | None = None,
) -> Generator[Progress, None, tuple[Detector, float]]:
    """Return a detector that has learnt the boxes, and the seconds of it; yields Progress.

    After each epoch all that the next one needs is kept in `state`, from where the same call goes
    on to the same weights. Raises KitboxError for a loss that is no longer a number.
    """
    torch.manual_seed(recipe.seed)
    detector = _started(recipe, source, device, precision)
    batches = examples.EpochBatches(boxed, recipe.batch_size, recipe.seed)
    optimizer, schedule = _optimizer(detector, recipe, len(batches))
    done, before = _restored(state, detector, optimizer, schedule)
    form = detector.pyramid.pixel_form
    loader = examples.loader(
        examples.Examples(boxed, recipe.height_width(boxed.shape), form.interpolation),
        batches,
        workers=loading.usual_workers(device, workers),
    )
    began, spent = time.perf_counter(), before
    for epoch in range(done + 1, recipe.epochs + 1):
        batches.epoch = epoch
        for step, (pixels, boxes, _) in enumerate(loader, 1):
            loss = _step(detector.train(), pixels, boxes, optimizer, device, precision)
            if not loss < float("inf"):
                raise KitboxError(
                    f"the loss of the detector became {loss} at epoch {epoch}; "
                    "say --precision 32, or another --backbone"
                )
            schedule.step()
            at = (epoch - 1) * len(batches) + step
            new = (at - done * len(batches)) / len(batches) * len(boxed)
            speed = new / (time.perf_counter() - began)
            note = f"epoch {epoch}/{recipe.epochs}, loss {loss:.3f}, {speed:.0f} images/s"
            yield Progress("learn boxes", at, recipe.epochs * len(batches), "steps", note)
        spent = before + time.perf_counter() - began
        _keep(state, detector, optimizer, schedule, {"epoch": epoch, "seconds": spent})
    return detector.eval(), spent


def _started(recipe: Recipe, source: Path | str, device: str, precision: str) -> Detector:
    """Return a detector whose backbone has its weights, ready to learn on a device."""
    detector = Detector(recipe, pretrained=source == "hub")
    if isinstance(source, Path):
        detector.load_weights(source)
    if device == "cpu" and precision == "bf16":
        depthwise.quicken(detector.pyramid.backbone)
    return detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _step(
    detector: Detector,
    pixels: Tensor,
    boxes: Sequence[Floats],
    optimizer: Any,
    device: str,
    precision: str,
) -> float:
    """Learn from one batch; return its loss. What is no number changes nothing."""
    with inference.autocast(device, precision):
        said = detector(pixels.to(device, non_blocking=True))
    losses = detector.losses(said, [torch.from_numpy(each).to(device) for each in boxes])
    loss = torch.stack(list(losses.values())).sum()
    value = float(loss.detach())
    if value < float("inf"):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), _LONGEST_GRADIENT)
        optimizer.step()
    return value


def _optimizer(detector: Detector, recipe: Recipe, steps: int) -> tuple[Any, OneCycleLR]:
    """Return AdamW and its schedule: a warm-up over a tenth of the steps, then a cosine to zero."""
    backbone = [p for p in detector.pyramid.backbone.parameters() if p.requires_grad]
    own = {id(parameter) for parameter in detector.pyramid.backbone.parameters()}
    heads = [p for p in detector.parameters() if id(p) not in own]
    rates = [recipe.learning_rate * _BACKBONE_RATE, recipe.learning_rate]
    optimizer = torch.optim.AdamW(
        [{"params": backbone}, {"params": heads}], weight_decay=recipe.weight_decay
    )
    schedule = OneCycleLR(
        optimizer,
        max_lr=rates,
        total_steps=recipe.epochs * steps,
        pct_start=0.1,
        cycle_momentum=False,
    )
    return optimizer, schedule


def _keep(
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR, at: dict[str, Any]
) -> None:
    buffer = io.BytesIO()
    parts = {"detector": detector, "optimizer": optimizer, "schedule": schedule}
    torch.save({name: p.state_dict() for name, p in parts.items()} | at, buffer)
    write_bytes(state, buffer.getvalue())


def _restored(
    state: Path, detector: Detector, optimizer: Any, schedule: OneCycleLR
) -> tuple[int, float]:
    """Load the state of the last finished epoch, if there is one; return it and its seconds."""
    if not state.exists():
        return 0, 0.0
    try:
        done = torch.load(state, map_location="cpu", weights_only=True)
        detector.load_state_dict(done["detector"])
        optimizer.load_state_dict(done["optimizer"])
        schedule.load_state_dict(done["schedule"])
        return int(done["epoch"]), float(done["seconds"])
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, PickleError) as e:
        raise damaged(state) from e
