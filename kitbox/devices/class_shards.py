"""Class weights divided among processes: each has those of some labels, and their logits."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.optim import Optimizer

# Heads are divided that have this many weights, or more: 64 MB in float32, of which a device holds
# five times as much, with gradients, their sums over processes, and the two moments of Adam.
LEAST_WEIGHTS = 2**24


@dataclass(frozen=True)
class ClassShard:
    """The labels of a process: rows `first` to `first + count` of the `total` of the label map."""

    first: int
    count: int
    total: int

    @classmethod
    def of_process(cls, rank: int, world: int, total: int) -> "ClassShard":
        """Return the shard of process `rank` of `world`; sizes differ by one label at most."""
        first, after = (total * each // world for each in (rank, rank + 1))
        return cls(first, after - first, total)

    def own(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of the labels (n,) are in this shard, and their columns in it, else any."""
        columns = labels - self.first
        return (columns >= 0) & (columns < self.count), columns.clamp(0, self.count - 1)[:, None]

    def log_probabilities(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability (n,) of each image's label, and the mean of those of all.

        `logits (n, count)` are those of this shard. All processes get the same, by a softmax whose
        largest logits and sums are exchanged; its gradient stays with the logits of each shard.
        """
        largest = logits.detach().amax(1)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        is_own, columns = self.own(labels)
        own = torch.where(is_own, logits.gather(1, columns).squeeze(1), 0)
        sums = torch.stack([(logits - largest[:, None]).exp().sum(1), own, logits.sum(1)])
        exponentials, label_logits, all_logits = _Summed.apply(sums)
        normaliser = largest + exponentials.log()
        return label_logits - normaliser, all_logits / self.total - normaliser


def shared(embeddings: Tensor) -> Tensor:
    """Return embeddings (n, d) that every shard is compared with: gradients of all are summed."""
    found: Tensor = _Shared.apply(embeddings)
    return found


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:  # noqa: ARG004
        return embeddings.view_as(embeddings)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


class _Summed(torch.autograd.Function):
    """The sum over processes, each of which then computes the same loss from it."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor) -> Tensor:  # noqa: ARG004
        total = parts.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return gradients[0]


class DivisibleHead(nn.Module, ABC):
    """A loss head whose class weights can be divided; `shard` are the labels of this process."""

    shard: ClassShard | None = None
    label_count: int

    @abstractmethod
    def class_weights(self) -> Sequence[tuple[nn.Parameter, int]]:
        """Return the weights that labels have, each with its dimension of labels."""


class DividedWeights:
    """The class weights that processes divide, with what belongs to them: moments and averages.

    A process keeps its part of each in the tensor's place. `names` are those of the parameters in
    the trained network, which have gradients of their own in each process.
    """

    def __init__(self, networks: Sequence[nn.Module], optimizer: Optimizer) -> None:
        """Divide the weights of `networks`: the trained one, and a copy with averaged weights.

        Both have `heads`. Every process has the same whole weights before.
        """
        self._rank, self._world = distributed.get_rank(), distributed.get_world_size()
        self._optimizer, self._parts = optimizer, list[tuple[nn.Parameter, int, int]]()
        for network in networks:
            for head in filter(_is_large, cast(Iterable[DivisibleHead], network.heads)):
                labels = head.label_count
                head.shard = ClassShard.of_process(self._rank, self._world, labels)
                self._parts += [(weights, dim, labels) for weights, dim in head.class_weights()]
        divided = {weights for weights, _, _ in self._parts}
        self.names = [name for name, each in networks[0].named_parameters() if each in divided]
        self._put([self._cut(*part) for part in self._tensors()])

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Give the first process the whole of all weights for the body, in the CPU's memory.

        All processes have to come here.
        """
        parts = [tensor for tensor, _, _ in self._tensors()]
        self._put([self._gather(*part) for part in self._tensors()])
        try:
            yield
        finally:
            self._put(parts)

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> None:
        """Clip gradients by the norm of all, of which each process has those of its labels."""
        divided = {weights for weights, _, _ in self._parts}
        given = [each for each in parameters if each.grad is not None]
        own = [cast(Tensor, each.grad) for each in given if each in divided]
        others = [cast(Tensor, each.grad) for each in given if each not in divided]
        square = nn.utils.get_total_norm(own).square()
        distributed.all_reduce(square)
        norm = (square + nn.utils.get_total_norm(others).square()).sqrt()
        nn.utils.clip_grads_with_norm_(given, max_norm, norm)

    def _tensors(self) -> list[tuple[Tensor, int, int]]:
        """Return weights and moments, each with its dimension of labels and their number."""
        found = []
        for weights, dim, labels in self._parts:
            state = self._optimizer.state.get(weights, {})
            moments = [each for each in state.values() if _is_like(each, weights)]
            found += [(tensor, dim, labels) for tensor in (weights.data, *moments)]
        return found

    def _put(self, tensors: Sequence[Tensor]) -> None:
        """Put tensors into the places of `_tensors`, in its order."""
        waiting = iter(tensors)
        for weights, _, _ in self._parts:
            state = self._optimizer.state.get(weights, {})
            names = [name for name, each in state.items() if _is_like(each, weights)]
            weights.data = next(waiting)
            for name in names:
                state[name] = next(waiting)

    def _rows(self, rank: int, whole: int, labels: int) -> tuple[int, int]:
        """Return start and number of the rows of a process, of which a label may have several."""
        shard, each = ClassShard.of_process(rank, self._world, labels), whole // labels
        return shard.first * each, shard.count * each

    def _cut(self, tensor: Tensor, dim: int, labels: int) -> Tensor:
        return tensor.narrow(dim, *self._rows(self._rank, tensor.shape[dim], labels)).clone()

    def _gather(self, tensor: Tensor, dim: int, labels: int) -> Tensor:
        """Return the whole of a tensor in the first process, and the part itself in others."""
        own = ClassShard.of_process(self._rank, self._world, labels).count
        each = tensor.shape[dim] // own  # rows of a label
        rows = tensor.movedim(dim, 0)
        padded = rows.new_zeros((-(-labels // self._world) * each, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self._world)] if not self._rank else None
        distributed.gather(padded, parts)
        if parts is None:
            return tensor
        counts = [self._rows(rank, labels * each, labels)[1] for rank in range(self._world)]
        own_rows = [part[:count].cpu() for part, count in zip(parts, counts, strict=True)]
        return torch.cat(own_rows).movedim(0, dim).contiguous()


def is_divisible(network: nn.Module) -> bool:
    """Return whether a trained network has a head that processes would divide."""
    return any(map(_is_large, cast(Iterable[nn.Module], network.heads)))


def _is_large(head: nn.Module) -> bool:
    return (
        isinstance(head, DivisibleHead)
        and sum(weights.numel() for weights, _ in head.class_weights()) >= LEAST_WEIGHTS
    )


def _is_like(moment: object, weights: Tensor) -> bool:
    return isinstance(moment, Tensor) and moment.shape == weights.shape
