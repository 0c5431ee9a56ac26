"""A catalogue of drawn photographs on disk: a folder per individual, and photographs to identify.

The workspace has the frozen plugin "eyes", whose random network tells the drawn colours apart.
"""

from pathlib import Path

import numpy as np

from kitbox.workspace import Workspace
from tests.photographs import picture, write_plugin


def draw_catalogue(root: Path, *, individuals: int = 10, each: int = 4) -> Path:
    """Write photographs of individuals w_0, w_1, …; return their folder."""
    for individual in range(individuals):
        for number in range(each):
            picture(
                root / "whales" / f"w_{individual}" / f"{individual}_{number}.png",
                individual,
                number,
            )
    return root / "whales"


def draw_card(root: Path, *, known: int = 4, new: int = 2) -> Path:
    """Write new photographs k_0, k_1, … of w_0, w_1, … and n_0, … of new individuals."""
    card = root / "card"
    for individual in range(known):
        picture(card / "day 1" / f"k_{individual}.png", individual, 50)
    for number in range(new):
        picture(card / "day 2" / f"n_{number}.png", 100 + number, 50)
    return card


def with_eyes(folder: Path) -> Workspace:
    """Write the plugin into a new workspace, before anything else is there."""
    workspace = Workspace(folder)
    write_plugin(workspace, "eyes", epochs=0, losses=[], embedding_dim=None, neck="none")
    return workspace


def broken(path: Path) -> Path:
    """Write a file that is no photograph, with the suffix of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(0).bytes(200))
    return path
