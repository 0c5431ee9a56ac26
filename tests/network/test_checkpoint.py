"""Checkpoints: complete, with equal bytes for equal content, and tied to their plugin."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kitbox.errors import KitboxError
from kitbox.network.checkpoint import (
    Checkpoint,
    Origin,
    load_network,
    read_checkpoint,
    read_origin,
    save_checkpoint,
)
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.plugin import Plugin
from tests.photographs import named, tiny


def origin_of(plugin: Plugin) -> Origin:
    settings = plugin.model_dump(mode="json")
    return Origin(
        plugin="tiny",
        settings=settings,
        fingerprint=plugin.fingerprint,
        labels=("a", "b"),
        epoch=2,
        on="holdout",
        data="d",
        weights="none",
        seed=0,
        precision="32",
    )


def saved(path: Path, plugin: Plugin) -> tuple[TrainedNetwork, Checkpoint]:
    torch.manual_seed(0)
    trained = TrainedNetwork(Network(plugin), plugin, np.array([3, 1]))
    return trained, save_checkpoint(path, trained, origin_of(plugin))


def test_a_checkpoint_holds_the_network_its_heads_and_its_label_map(tmp_path: Path) -> None:
    plugin = tiny()
    trained, checkpoint = saved(tmp_path / "a.safetensors", plugin)
    network = load_network(checkpoint, named(plugin))
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
    origin = read_origin(checkpoint.path)
    assert origin == origin_of(plugin)
    assert origin.labels == ("a", "b")
    assert b"heads.0.loss.W" in checkpoint.path.read_bytes()


def test_layers_that_share_their_weights_are_saved_with_a_copy_each(tmp_path: Path) -> None:
    plugin = tiny(embedding_dim=16)
    trained = TrainedNetwork(Network(plugin), plugin, np.array([3, 1]))
    trained.network.neck[1].bias = trained.network.neck[1].weight
    network = load_network(save_checkpoint(tmp_path / "a.safetensors", trained, origin_of(plugin)))
    assert torch.equal(network.neck[1].bias, network.neck[1].weight)


def test_equal_weights_have_equal_bytes(tmp_path: Path) -> None:
    _, one = saved(tmp_path / "a.safetensors", tiny())
    _, other = saved(tmp_path / "b.safetensors", tiny())
    assert one.digest == other.digest


def test_a_checkpoint_with_other_settings_is_refused(tmp_path: Path) -> None:
    _, checkpoint = saved(tmp_path / "a.safetensors", tiny())
    with pytest.raises(KitboxError, match=r"is of plugin tiny with other settings"):
        load_network(checkpoint, named(tiny(dropout=0.5)))


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    _, checkpoint = saved(tmp_path / "a.safetensors", tiny())
    data = bytearray(checkpoint.path.read_bytes())
    data[-1] ^= 1
    checkpoint.path.write_bytes(bytes(data))
    with pytest.raises(KitboxError, match=r"the bytes of checkpoint .* have changed"):
        load_network(checkpoint)


@pytest.mark.parametrize("content", [b"", b"no tensors at all, just text"])
def test_a_file_that_kitbox_did_not_write_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(KitboxError, match="is not a checkpoint of kitbox, or is damaged"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_a_checkpoint_needs_no_folder_that_described_its_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kitbox.toml").touch()
    monkeypatch.setenv("KITBOX_WORKSPACE", str(tmp_path))
    config = {"architecture": "test_efficientnet", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    described = tmp_path / "net" / "config.json"
    described.parent.mkdir()
    described.write_text(json.dumps(config))
    trained, checkpoint = saved(tmp_path / "a.safetensors", tiny(backbone="local-dir:net"))
    described.unlink()
    network = load_network(checkpoint)
    assert network.data_config.mean == (0.1, 0.2, 0.3)
    assert torch.equal(network.normalisation.offset, trained.network.normalisation.offset)
    with pytest.raises(KitboxError, match=r"backbone local-dir:net has no config\.json"):
        Network(tiny(backbone="local-dir:net"))
