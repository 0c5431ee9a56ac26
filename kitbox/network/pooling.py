"""From maps to one vector: the mean or the power mean over the places of each map."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kitbox.plugin.settings import Plugin

# Keeps the gradient of a root finite where a channel says nothing.
_LEAST = 1e-6
# Up to here _LEAST to that power is still a normal number of float32.
_PLAIN_POWER = 6.0


class Pooling(nn.Module):
    """From maps (n, c_i, h_i, w_i) to their pooled channels side by side, (n, Σc_i) float32."""

    def __init__(self, plugin: Plugin, maps: int) -> None:
        """Pool as the plugin says; learned powers are a parameter, one for each map."""
        super().__init__()
        self.power = plugin.gem_power if plugin.pooling == "gem" else None
        if plugin.pooling == "gem_learned":
            self.powers: nn.Parameter | None = nn.Parameter(torch.full((maps,), plugin.gem_power))
        else:
            self.register_parameter("powers", None)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the pooled maps; autocast takes no precision away from means and powers."""
        pooled = [self._pooled(each.float(), place) for place, each in enumerate(maps)]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)

    def _pooled(self, maps: Tensor, place: int) -> Tensor:
        if self.powers is not None:
            return power_mean(maps, _at_least_one(self.powers[place]))
        if self.power is None:
            return maps.mean((2, 3))
        return power_mean(maps, self.power)


def power_mean(maps: Tensor, power: float | Tensor) -> Tensor:
    """Return the power mean of each channel of maps (n, c, h, w) float32, what is below 0 as 0.

    Generalised-mean pooling (Radenović et al., TPAMI 2019).
    """
    maps = maps.clamp(min=_LEAST)
    if isinstance(power, float) and power <= _PLAIN_POWER:
        return maps.pow(power).mean((2, 3)).pow(1 / power)
    # The same by logarithms, where no power runs out of float32.
    places = maps.shape[2] * maps.shape[3]
    return ((torch.logsumexp(power * maps.log(), (2, 3)) - math.log(places)) / power).exp()


def _at_least_one(power: Tensor) -> Tensor:
    """Return a power that is 1 or more; its gradient passes, so that one below can rise again."""
    return power + (power.clamp(min=1) - power).detach()
