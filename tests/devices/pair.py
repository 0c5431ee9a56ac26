"""One of two processes of torchrun's kind: embeds by the command line, gathers, and then fails."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as distributed
from timm.layers import BatchNormAct2d
from torch import nn

from kitbox.cli import app
from kitbox.devices import class_shards
from kitbox.devices.batch_gather import gather_batch
from kitbox.devices.launch import Processes, together
from kitbox.devices.process_group import first_ahead, rank, wait_for_all
from kitbox.devices.synchronised_norm import synchronise
from kitbox.embedding import embedder
from kitbox.errors import KitboxError
from kitbox.network.loss_heads import build_loss_head
from kitbox.plugin.losses import ArcFace, CosFace, CrossEntropy, Focal, Ramp, Triplet

DIVIDED = (
    ArcFace(centers=2, ramp=Ramp(epochs=2)),
    CosFace(margin=0.2),
    CrossEntropy(label_smoothing=0.1),
    Focal(),
)


def losses(images: torch.Tensor, labels: torch.Tensor) -> list[dict[str, list[float]]]:
    """Return loss and gradients of a linear network by some losses, over all processes."""
    found = []
    for loss in (ArcFace(), Triplet(mining="batch_hard"), Triplet(mining="sequence")):
        torch.manual_seed(0)
        network = nn.Linear(5, 4)
        head = build_loss_head(loss, 4, torch.bincount(labels).numpy())
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        share = images[distributed.get_rank() :: world] if world > 1 else images
        value = head(gather_batch(network(share), len(labels)), labels)
        value.backward()
        given = [*network.parameters(), *head.parameters()]
        if world > 1:  # as DistributedDataParallel does
            for each in given:
                distributed.all_reduce(each.grad)
                each.grad /= world
        gradients = torch.cat([each.grad.flatten() for each in given]).tolist()
        found.append({"loss": [value.item()], "gradients": gradients})
    return found


def divided(images: torch.Tensor, labels: torch.Tensor) -> list[dict[str, list[float]]]:
    """Return loss, and weights and moments after clipped steps, of heads that processes divide."""
    class_shards.LEAST_WEIGHTS = 1
    found = []
    for loss in DIVIDED:
        torch.manual_seed(0)
        network = nn.Linear(5, 4)
        head = build_loss_head(loss, 4, torch.bincount(labels).numpy())
        whole = nn.Module()
        whole.network, whole.heads = network, nn.ModuleList([head])
        optimizer = torch.optim.AdamW(whole.parameters(), lr=0.1)
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        parts: class_shards.DividedWeights | None = None
        for step in range(3):
            if step == 1 and world > 1:  # as after resuming, with moments
                value = None  # its graph knows the shapes of whole weights
                parts = class_shards.DividedWeights([whole], optimizer)
            share = images[distributed.get_rank() :: world] if world > 1 else images
            value = head(gather_batch(network(share), len(labels)), labels)
            value.backward()
            if world > 1:  # as DistributedDataParallel does with what is not divided
                for each in whole.parameters() if parts is None else network.parameters():
                    distributed.all_reduce(each.grad)
                    each.grad /= world
            if parts is None:
                nn.utils.clip_grad_norm_(whole.parameters(), 0.01)
            else:
                parts.clip(whole.parameters(), 0.01)
            optimizer.step()
            optimizer.zero_grad()
        with parts.whole() if parts is not None else nullcontext():
            moments = [
                each["exp_avg"].flatten() * 100 for each in optimizer.state_dict()["state"].values()
            ]
            weights = [each.detach().flatten() for each in whole.parameters()]
        found.append({"loss": [value.item()], "gradients": torch.cat(moments + weights).tolist()})
    return found


def normalised(images: torch.Tensor) -> list[float]:
    """Return outputs, statistics and gradients of batch norms, one of them with an activation."""
    torch.manual_seed(0)
    norms = nn.Sequential(BatchNormAct2d(5), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4, affine=False))
    maps = torch.randn(len(images), 5, 3, 2) + images[:, :, None, None] * 3
    world = distributed.get_world_size() if distributed.is_initialized() else 1
    share = maps.clone()
    if world > 1:
        synchronise(norms)
        share = maps[distributed.get_rank() :: world].clone()
    share.requires_grad_(True)
    output = norms(share)
    gather_batch(output, len(images)).square().mul(maps[:, :4]).mean().backward()
    given = [weights.grad for weights in norms.parameters()]
    if world > 1:
        for each in given:
            distributed.all_reduce(each)
            each /= world
    inputs = gather_batch(share.grad, len(images)) / world
    found = [gather_batch(output, len(images)), inputs, *given, *norms.buffers()]
    before = {name: each.clone() for name, each in norms.named_buffers()}
    found.append(norms.eval()(maps))  # each for itself
    assert all(torch.equal(before[name], each) for name, each in norms.named_buffers())
    return torch.cat([each.detach().float().flatten() for each in found]).tolist()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return nine images, which two processes cannot share equally, and their labels."""
    torch.manual_seed(1)
    return torch.randn(9, 5), torch.tensor([0, 1, 2] * 2 + [1, 2, 0])


def work() -> None:
    """Do what the module says."""
    embedder._BATCH = 4
    commands(sys.argv[2:], standalone_mode=False)
    with together(Processes(2), "cpu"):
        order: list[int] = []
        with first_ahead():
            order.append(len(list(Path(sys.argv[1]).glob("seen-*"))))
            Path(sys.argv[1], f"seen-{rank()}").touch()
        found = {
            "ahead": order,
            "losses": losses(*batch()),
            "divided": divided(*batch()),
            "normalised": normalised(batch()[0]),
        }
        Path(sys.argv[1], f"rank-{rank()}.json").write_text(json.dumps(found))
        if rank() == 1:
            raise KitboxError("the disk of machine 2 is full", fix="empty it")
        wait_for_all()


if __name__ == "__main__":
    commands = app.app
    app.app = work
    app.main()
