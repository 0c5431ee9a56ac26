"""How hard the negatives of triplets shall be, step by step through a training."""

import math

from kitbox.plugin.sampling import Curve


def hardness(
    step: int, total: int, cycles: int, threshold: float, growth: float, curve: Curve
) -> float:
    """Return the hardness, 0 to `threshold`, that is asked at a step of 0..total − 1.

    In each of `cycles` u runs from 0 to below 1, and hardness is `threshold` times
    1 / (1 + exp(−growth·(4u − 2))) if the curve is logistic, exp(growth·(u − 1)) exponential,
    u linear, sin(πu/2) sine, tanh(growth·u) tanh, log(1 + growth·u) / log(1 + growth) logarithmic,
    and 1 constant.

    Sigmoid-Triplet-Sequencer describes the logistic curve; its code, with 0.5/1+exp(x) for the
    sigmoid, computes the exponential one.
    """
    return threshold * _risen(step * cycles % total / total, growth, curve)


def _risen(u: float, growth: float, curve: Curve) -> float:
    """Return which share of the threshold is reached at the share u of a cycle."""
    match curve:
        case "logistic":
            # over −2..2 a growth of 3, the source's, rises from .002 to .998; and as a tanh,
            # 1 / (1 + exp(−2x)) = (1 + tanh x) / 2, no growth is too large to compute
            return (1 + math.tanh(growth * (2 * u - 1))) / 2
        case "exponential":
            return math.exp(growth * (u - 1))
        case "linear":
            return u
        case "sine":
            return math.sin(math.pi * u / 2)
        case "tanh":
            return math.tanh(growth * u)
        case "logarithmic":
            return math.log1p(growth * u) / math.log1p(growth)
        case "constant":
            return 1.0
