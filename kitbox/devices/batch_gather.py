"""The embeddings of a batch that several processes share, gathered with their gradients."""

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor


def gather_batch(share: Tensor, count: int) -> Tensor:
    """Return the rows (count, d) of a batch in its order, given this process's `share (m, d)`.

    Row i of a batch is in the share of process i mod n. A process that has the whole batch gets it
    back. Every process then computes the loss of the whole batch, and the gradient of its own rows
    is multiplied by n: the mean over the n processes, which DistributedDataParallel takes, is then
    the gradient of that loss, as of one process with the whole batch.
    """
    if len(share) == count:
        return share
    gathered: Tensor = _GatherBatch.apply(share, count)
    return gathered


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, count: int) -> Tensor:  # noqa: ARG004
        world = distributed.get_world_size()
        rows = -(-count // world)  # shares differ by a row; the shorter ones end with zeros
        padded = share.new_zeros((rows, *share.shape[1:]))
        padded[: len(share)] = share
        shares = [torch.empty_like(padded) for _ in range(world)]
        distributed.all_gather(shares, padded)
        return torch.stack(shares, 1).flatten(0, 1)[:count]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        world = distributed.get_world_size()
        return gradients[0][distributed.get_rank() :: world] * world, None
