"""Cost of each method in a training step, compared with the plain loss on the same batch.

    python benchmarks/steps.py [METHOD...] [--backbone mobilenetv2_100] [--size 128 256]
        [--labels 1500] [--rounds 12]

A whole step on 32 random images: forward, losses, backward, clipping, optimiser, averages. Each
method alternates with the plain loss that it is based on, and the ratio of their medians is
printed. Times are CPU time. Work before an epoch is measured by mining.py and clustering.py.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import machine

from kitbox import (
    PK,
    ArcFace,
    Contrastive,
    CosFace,
    CrossEntropy,
    Divide,
    Ema,
    Focal,
    Hardness,
    Margin,
    MultiSimilarity,
    Plugin,
    PowerMargin,
    Triplet,
)
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.training.optimizer import AveragedWeights, build_optimizer

CLASSIFIED = {"losses": (ArcFace(),)}
PAIRED = {"losses": (Triplet(),), "sampler": PK()}
MARGIN = {"losses": (Margin(mining="closest"),), "sampler": PK()}
# method: its settings, and those of the plain loss
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CosFace": ({"losses": (CosFace(),)}, CLASSIFIED),
    "ArcFace + CrossEntropy": ({"losses": (ArcFace(), CrossEntropy())}, CLASSIFIED),
    "ArcFace, 3 centres, PowerMargin": (
        {"losses": (ArcFace(centers=3, margin=PowerMargin()),)},
        CLASSIFIED,
    ),
    "Focal": ({"losses": (Focal(),)}, {"losses": (CrossEntropy(),)}),
    "semi-hard": (PAIRED | {"losses": (Triplet(mining="semi_hard"),)}, PAIRED),
    "distance-weighted": (PAIRED | {"losses": (Triplet(mining="distance_weighted"),)}, PAIRED),
    "easy positive": (PAIRED | {"losses": (Triplet(mining="easy_positive"),)}, PAIRED),
    "hardness": (
        {
            "losses": (Triplet(mining="sequence"),),
            "sampler": Hardness(),
            "batch_size": 33,
        },
        PAIRED,
    ),
    "Contrastive": (PAIRED | {"losses": (Contrastive(),)}, PAIRED),
    "MultiSimilarity": (PAIRED | {"losses": (MultiSimilarity(),)}, PAIRED),
    "Margin, a beta for each label": (
        PAIRED | {"losses": (Margin(mining="closest", learn_beta="per_label"),)},
        MARGIN,
    ),
    "divide and conquer, 8 slices": (MARGIN | {"divide": Divide()}, MARGIN),
    "mixup of embeddings": (CLASSIFIED | {"embedding_mixup": 0.2}, CLASSIFIED),
    "GeM, learned": (CLASSIFIED | {"pooling": "gem_learned"}, CLASSIFIED),
    "two feature maps": (CLASSIFIED | {"pooled_maps": (3, 4)}, CLASSIFIED),
    "LayerNorm neck": (CLASSIFIED | {"neck": "layernorm"}, CLASSIFIED),
    "frozen batch norms": (CLASSIFIED | {"frozen_batchnorm": True}, CLASSIFIED),
    "EMA": (CLASSIFIED | {"averaging": Ema()}, CLASSIFIED),
}


def stepper(plugin: Plugin, label_count: int) -> Callable[[], float]:
    """Return a function that takes one step and returns its CPU seconds for 32 images."""
    torch.manual_seed(0)
    trained = TrainedNetwork(Network(plugin), plugin, np.full(label_count, 4))
    trained.to(memory_format=torch.channels_last).train()
    averaged = None if plugin.averaging is None else AveragedWeights(trained, plugin.averaging)
    optimizer = build_optimizer(plugin, trained)
    height, width = plugin.height_width
    size = plugin.batch_size
    pixels = torch.randint(0, 256, (size, height, width, 3), dtype=torch.uint8)
    thirds = isinstance(plugin.sampler, Hardness)
    labels = torch.arange(size // 3).tile(3) if thirds else torch.arange(size) // 4
    labels = (
        torch.where(torch.arange(size) < size // 3 * 2, labels, labels + 50) if thirds else labels
    )

    def step() -> float:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = trained(pixels, labels, 0 if plugin.divide else None)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if averaged is not None:
            averaged.after_step(trained)
        return (time.process_time() - began) * 32 / size

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help="default: all")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256))
    parser.add_argument("--labels", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{machine('torch', 'timm', 'kitbox')}, one thread; {given.backbone}, "
        f"32 images of {given.size}, {given.labels:,} labels"
    )
    for name in given.methods or METHODS:
        settings, plain = METHODS[name]
        common = {
            "backbone": given.backbone,
            "image_size": tuple(given.size),
            "embedding_dim": 512,
            "epochs": 1,
        }
        steps = [stepper(Plugin(**common | chosen), given.labels) for chosen in (settings, plain)]
        seconds: list[list[float]] = [[], []]
        for turn in range(given.rounds + 2):
            for place, step in enumerate(steps):
                spent = step()
                if turn >= 2:  # the first two steps allocate memory and choose kernels
                    seconds[place].append(spent)
        one, other = (statistics.median(spent) for spent in seconds)
        print(f"{name:34s} {one * 1e3:6.0f} ms, plain {other * 1e3:6.0f} ms: × {one / other:.2f}")


if __name__ == "__main__":
    main()
