"""Weights on disk: one safetensors file with everything needed to use or judge them."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from kitbox.errors import KitboxError
from kitbox.files import canonical_json, digest_of_file, write_bytes
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint

# safetensors keeps its metadata unordered, so all of it goes under one key: same content, same
# bytes.
_KEY = "kitbox"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint says of itself: settings, label map (row → label), epoch and data.

    `weights` are the backbone's, or those of a checkpoint of the plugin `init_from`; `pseudo` are
    the pseudo-labels that it learnt from, of a `pseudo_round`; `earlier` are the labels that the
    networks before it had learnt, by the digest of their data.
    """

    plugin: str
    settings: dict[str, Any]
    fingerprint: str
    labels: tuple[str, ...]
    epoch: int
    on: str
    data: str
    weights: str
    seed: int
    precision: str
    pseudo: str | None = None
    pseudo_round: int = 0
    init_from: str | None = None
    earlier: dict[str, list[str]] | None = None

    @property
    def learned_labels(self) -> dict[str, list[str]]:
        """The labels that it and the networks before it learnt, by the digest of their data."""
        before = self.earlier or {}
        return before | {self.data: sorted({*before.get(self.data, ()), *self.labels})}

    @property
    def may_have_seen_holdout(self) -> bool:
        """Whether one before it learnt its labels from images that it was not to learn from."""
        return self.on == "holdout" and bool(
            learned_elsewhere(self.earlier or {}, self.data, self.labels)
        )


def learned_elsewhere(
    learnt: Mapping[str, Collection[str]], data: str, labels: Collection[str]
) -> set[str]:
    """Return those of some labels that were learnt from other images than `data` names."""
    others = (known for of, known in learnt.items() if of != data)
    return set(labels).intersection(label for known in others for label in known)


def save_checkpoint(path: Path, trained: TrainedNetwork, origin: Origin) -> Checkpoint:
    """Write network and heads with their origin, whole or not at all."""
    tensors = {
        name.replace("_orig_mod.", ""): tensor.detach().cpu().contiguous()
        for name, tensor in trained.state_dict().items()
    }
    # what it does not come from is not said, so that older checkpoints made again are the same
    said = {name: value for name, value in vars(origin).items() if value not in (None, 0)}
    said |= {"epoch": origin.epoch, "seed": origin.seed}
    write_bytes(path, to_bytes(tensors, metadata={_KEY: canonical_json(said)}))
    return read_checkpoint(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint that a file holds.

    Raises KitboxError for a file that is not there or that kitbox did not write.
    """
    origin = read_origin(path)
    return Checkpoint(
        path, origin.plugin, origin.fingerprint, digest_of_file(path), origin.epoch, origin.on
    )


def read_origin(path: Path) -> Origin:
    """Return what a checkpoint says of itself, without reading its tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        given = json.loads(metadata[_KEY])
    except FileNotFoundError as error:
        raise KitboxError(f"there is no checkpoint {path}") from error
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise KitboxError(f"{path} is not a checkpoint of kitbox, or is damaged") from error
    return Origin(**(given | {"labels": tuple(given["labels"])}))


def load_network(checkpoint: Checkpoint, named: NamedPlugin | None = None) -> Network:
    """Return the network of a checkpoint, in eval mode on the CPU.

    Raises KitboxError where the checkpoint is of another plugin than `named`, or its bytes are
    not those that were recorded.
    """
    origin = read_origin(checkpoint.path)
    if named is not None and origin.fingerprint != named.plugin.fingerprint:
        raise KitboxError(
            f"checkpoint {checkpoint.path} is of plugin {origin.plugin} with other settings than "
            f"{named.name} has now; run 'kitbox train {named.name}'"
        )
    if digest_of_file(checkpoint.path) != checkpoint.digest:
        raise KitboxError(f"the bytes of checkpoint {checkpoint.path} have changed; train it again")
    plugin = Plugin.model_validate(origin.settings)
    network = Network(plugin)
    with safe_open(checkpoint.path, framework="pt") as file:
        state = {
            name.removeprefix("network."): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118  not a dict
            if name.startswith("network.")
        }
    network.load_state_dict(state)
    return network.eval().to(memory_format=torch.channels_last)
