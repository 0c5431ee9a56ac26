"""Checkpoints: whole, of equal bytes for equal content, and tied to their plugin."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kitbox.errors import KitboxError
from kitbox.network import inference
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


def test_a_checkpoint_gives_back_the_network_its_heads_and_its_label_map(tmp_path: Path) -> None:
    plugin = tiny()
    trained, kept = saved(tmp_path / "a.safetensors", plugin)
    network = load_network(kept, named(plugin))
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
    origin = read_origin(kept.path)
    assert origin == origin_of(plugin)
    assert origin.labels == ("a", "b")
    assert b"heads.0.loss.W" in kept.path.read_bytes()


def test_equal_weights_make_equal_bytes(tmp_path: Path) -> None:
    _, one = saved(tmp_path / "a.safetensors", tiny())
    _, other = saved(tmp_path / "b.safetensors", tiny())
    assert one.digest == other.digest


def test_a_checkpoint_of_another_plugin_is_refused(tmp_path: Path) -> None:
    _, kept = saved(tmp_path / "a.safetensors", tiny())
    with pytest.raises(KitboxError, match=r"is of plugin tiny with other settings"):
        load_network(kept, named(tiny(dropout=0.5)))


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    _, kept = saved(tmp_path / "a.safetensors", tiny())
    data = bytearray(kept.path.read_bytes())
    data[-1] ^= 1
    kept.path.write_bytes(bytes(data))
    with pytest.raises(KitboxError, match=r"the bytes of checkpoint .* have changed"):
        load_network(kept)


@pytest.mark.parametrize("content", [b"", b"no tensors at all, just text"])
def test_a_file_that_kitbox_did_not_write_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(KitboxError, match="is not a checkpoint of kitbox, or is damaged"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_vectors_have_unit_length_and_the_mode_is_left_as_it_was() -> None:
    network = Network(tiny()).train()
    batches = [(torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8), torch.arange(3))]
    for precision in ("32", "bf16"):
        found = list(inference.embed_batches(network, batches, device="cpu", precision=precision))
        assert found[0][0].shape == (3, 16)
        np.testing.assert_allclose(np.linalg.norm(found[0][0], axis=1), 1, atol=1e-5)
    assert network.training


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inference.resolve_device("gpu"), "--device gpu is not auto, cpu or cuda"),
        (lambda: inference.resolve_precision("8", "cpu"), "--precision 8 is not auto, 32"),
        (
            lambda: inference.resolve_precision("16", "cpu", training=True),
            "--precision 16 is not supported on this CPU; use 32",
        ),
    ],
)
def test_devices_and_precisions_that_are_not_here_are_refused(call, message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        call()
