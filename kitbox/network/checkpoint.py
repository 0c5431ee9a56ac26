"""Checkpoints: one safetensors file of weights, with everything needed to use and check them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import StrictInt
from safetensors import SafetensorError, safe_open

from kitbox.errors import KitboxError
from kitbox.files import canonical_json, parse_json, session_digest, write_bytes
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint
from kitbox.value import FileName, check
from kitbox.weights import model_hub

if TYPE_CHECKING:  # torch and timm take seconds to import, and cached embeddings need neither
    import torch

    from kitbox.network.network import Network
    from kitbox.network.trained_network import TrainedNetwork

# safetensors does not order its metadata, so all of it is one JSON value: equal content has equal
# bytes.
_KEY = "kitbox"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Metadata of a checkpoint: plugin settings, label map (row → label), epoch and training data.

    `on` is "holdout", "all" or "none", as in `Checkpoint`; `data` is the digest of the training
    data, '' without any.
    `weights` is the digest of the initial backbone weights, "hub" or "none", or the digest of a
    checkpoint of the plugin `init_from`. `pseudo` is the digest of the pseudo-labels of round
    `pseudo_round`. `earlier` maps digests of training data to the labels that were learned from
    them by the networks that this one was initialised from. `backbone_config` is the
    config.json of a backbone of the hub or a folder, so that neither is needed to read it.
    """

    plugin: FileName
    settings: dict[str, Any]
    fingerprint: str
    labels: tuple[str, ...]
    epoch: StrictInt
    on: str
    data: str
    weights: str
    seed: StrictInt
    precision: str
    pseudo: str | None = None
    pseudo_round: StrictInt = 0
    init_from: str | None = None
    earlier: dict[str, list[str]] | None = None
    backbone_config: dict[str, Any] | None = None

    @property
    def learned_labels(self) -> dict[str, list[str]]:
        """Digest of training data → labels learned from them, by it and the networks before it."""
        before = self.earlier or {}
        if not self.data:
            return before
        return before | {self.data: sorted({*before.get(self.data, ()), *self.labels})}

    @property
    def may_have_seen_holdout(self) -> bool:
        """Whether a network before it learned some of its labels from other training data."""
        return self.on == "holdout" and bool(
            learned_elsewhere(self.earlier or {}, self.data, self.labels)
        )


def learned_elsewhere(
    learned: Mapping[str, Collection[str]], data: str, labels: Collection[str]
) -> set[str]:
    """Return those of `labels` that were learned from other data than that of digest `data`."""
    elsewhere = {label for digest, found in learned.items() if digest != data for label in found}
    return elsewhere.intersection(labels)


def save_checkpoint(path: Path, trained: "TrainedNetwork", origin: Origin) -> Checkpoint:
    """Save network and heads with their origin, atomically, and return the record of the file."""
    from safetensors.torch import save as to_bytes

    tensors: dict[str, torch.Tensor] = {}
    memory: set[int] = set()
    for name, trained_tensor in trained.state_dict().items():
        tensor = trained_tensor.detach().cpu().contiguous()
        # layers that share their weights have a copy each: the format knows no shared memory
        shared = tensor.untyped_storage().data_ptr() in memory
        memory.add(tensor.untyped_storage().data_ptr())
        tensors[name.replace("_orig_mod.", "")] = tensor.clone() if shared else tensor
    # empty fields are omitted: a new optional field leaves the digests of other checkpoints alone
    metadata = {name: value for name, value in vars(origin).items() if value not in (None, 0)}
    metadata |= {"epoch": origin.epoch, "seed": origin.seed}
    if (config := model_hub.load_config(origin.settings["backbone"])) is not None:
        metadata |= {"backbone_config": config}
    write_bytes(path, to_bytes(tensors, metadata={_KEY: canonical_json(metadata)}))
    return read_checkpoint(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the record of a checkpoint file.

    Raises KitboxError for a file that does not exist or that kitbox did not write.
    """
    origin = read_origin(path)
    return Checkpoint(
        path=path,
        plugin=origin.plugin,
        fingerprint=origin.fingerprint,
        digest=session_digest(path),
        epoch=origin.epoch,
        on=origin.on,
    )


def read_origin(path: Path) -> Origin:
    """Return the metadata of a checkpoint, without reading its tensors."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        fields = parse_json(metadata[_KEY])
    except FileNotFoundError as error:
        raise KitboxError(f"there is no checkpoint {path}") from error
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise KitboxError(f"{path} is not a checkpoint of kitbox, or is damaged") from error
    return check(Origin, fields, where=str(path), fix="train it again")


def layers(path: Path) -> list[tuple[str, list[int]]]:
    """Return the names and shapes of the tensors of a network, in the order of their names."""
    with safe_open(path, framework="np") as file:
        names = sorted(name for name in file.keys() if name.startswith("network."))  # noqa: SIM118
        return [(name, list(file.get_slice(name).get_shape())) for name in names]


def check_checkpoint(checkpoint: Checkpoint, named: NamedPlugin | None = None) -> Origin:
    """Return the metadata of a checkpoint whose network may be used for the plugin `named`.

    Raises KitboxError where the checkpoint has other settings than that plugin, or where its bytes
    differ from the recorded digest.
    """
    origin = read_origin(checkpoint.path)
    if named is not None and origin.fingerprint != named.plugin.fingerprint:
        raise KitboxError(
            f"checkpoint {checkpoint.path} is of plugin {origin.plugin} with other settings than "
            f"{named.name} has now; run 'kitbox train {named.name}'"
        )
    if session_digest(checkpoint.path) != checkpoint.digest:
        raise KitboxError(f"the bytes of checkpoint {checkpoint.path} have changed; train it again")
    return origin


def load_network(checkpoint: Checkpoint, named: NamedPlugin | None = None) -> "Network":
    """Return the network of a checkpoint, in eval mode on the CPU.

    Raises KitboxError as `check_checkpoint` does.
    """
    import torch

    from kitbox.network.network import Network

    origin = check_checkpoint(checkpoint, named)
    plugin = Plugin.read(origin.settings, str(checkpoint.path))
    with model_hub.recorded_config(plugin.backbone, origin.backbone_config):
        network = Network(plugin)
    with safe_open(checkpoint.path, framework="pt") as file:
        state = {
            name.removeprefix("network."): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118  not a dict
            if name.startswith("network.")
        }
    network.load_state_dict(state)
    return network.eval().to(memory_format=torch.channels_last)
