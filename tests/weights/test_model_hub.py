"""Backbones of the Hugging Face hub and of folders: built, read, and refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.network import pretrained_weights
from kitbox.network.backbone import data_config, own_size, traits_of
from kitbox.network.network import Network, measure_cost
from kitbox.plugin.plugin import Plugin
from kitbox.weights import model_hub, weight_source

SWIN = "swin_tiny_patch4_window7_224"
SMALL = {"depths": [1, 1, 1, 1], "embed_dim": 12, "num_heads": [1, 2, 3, 4]}
CFG = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}


def write_folder(folder: Path, *, older: bool = False, **changes: Any) -> torch.nn.Module:
    """Write a small MegaDescriptor as the hub has it; return timm's network of it."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = CFG | {"input_size": [3, 224, 224], "fixed_input_size": True}
    if older:  # everything at one level
        config = {"architecture": "test_vit", "num_classes": 0, **cfg}
        config |= {"input_size": [3, 160, 160]}
    else:
        config = {"architecture": SWIN, "pretrained_cfg": cfg, "model_args": SMALL}
    (folder / "config.json").write_text(json.dumps(config | changes))
    torch.manual_seed(4)
    options: dict[str, Any] = {} if older else SMALL
    model = timm.create_model("test_vit" if older else SWIN, num_classes=0, **options).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    return model


def of(backbone: str, **settings: Any) -> Plugin:
    fixed = {"image_size": 224, "embedding_dim": None, "neck": "none", "epochs": 0, "losses": ()}
    return Plugin(backbone=backbone, **(fixed | settings))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, and a hub that is out of reach with an empty cache."""
    (tmp_path / "kitbox.toml").touch()
    monkeypatch.setenv("KITBOX_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def cached(workspace: Path, repository: str) -> Path:
    """Return the folder of a model in the cache of the hub's own programs."""
    model = workspace / "hub" / f"models--{repository.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0abc")
    return model / "snapshots" / "0abc"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("local-dir:nets/mega", "nets/mega"),
        ("hf-hub:BVRA/Mega-T", "weights/Mega-T"),
        ("hf_hub:BVRA/Mega-T", "hub"),
    ],
)
def test_a_described_backbone_gives_timms_vectors_without_a_network(
    workspace: Path, name: str, place: str
) -> None:
    folder = cached(workspace, "BVRA/Mega-T") if place == "hub" else workspace / place
    model = write_folder(folder)
    source = weight_source.resolve_source("hub", name, workspace)
    assert source == folder / "model.safetensors"
    network = Network(of(name)).eval()
    assert pretrained_weights.load_network(network, Path(source)).notes == ()
    pixels = torch.randint(0, 255, (1, 224, 224, 3), dtype=torch.uint8)
    mean, std = torch.tensor(CFG["mean"]), torch.tensor(CFG["std"])
    with torch.no_grad():
        wanted = model(((pixels / 255 - mean) / std).permute(0, 3, 1, 2))
        torch.testing.assert_close(network(pixels), wanted, atol=1e-4, rtol=1e-4)
    assert data_config(name).interpolation == "bilinear"
    assert own_size(name) == (224, 224)
    assert measure_cost(of(name)).embedding_dim == 96


def test_the_older_form_of_a_config_is_read(workspace: Path) -> None:
    write_folder(workspace / "vit", older=True)
    name = f"local-dir:{workspace / 'vit'}"
    assert own_size(name) == (160, 160)
    assert data_config(name).std == (0.2, 0.3, 0.4)


def test_a_config_that_changes_is_read_again(workspace: Path) -> None:
    write_folder(workspace / "mine")
    assert not traits_of("local-dir:mine").has_tokens
    write_folder(workspace / "mine", older=True)
    assert traits_of("local-dir:mine").has_tokens


def test_the_digest_of_weights_covers_their_config(workspace: Path) -> None:
    name, folder = "local-dir:mega", workspace / "mega"
    write_folder(folder)
    weights = folder / "model.safetensors"
    first = weight_source.source_digest(weights, name)
    assert first == weight_source.source_digest(weights, name)
    assert weight_source.source_digest(weights, SWIN) == digest_of_file(weights)
    write_folder(folder, pretrained_cfg=CFG | {"mean": [0.1, 0.1, 0.1]})
    assert weight_source.source_digest(weights, name) != first


def test_weights_of_a_folder_serve_timms_own_backbone(workspace: Path) -> None:
    write_folder(workspace / "mega")
    (workspace / "mega" / "optimizer.bin").touch()
    for weights in ("local-dir:mega", f"local-dir:{workspace / 'mega'}"):
        found = weight_source.resolve_source(weights, SWIN, workspace)
        assert found == workspace / "mega" / "model.safetensors"


def test_another_mean_beside_the_weights_is_told(workspace: Path) -> None:
    write_folder(workspace / "vit", older=True)
    path = workspace / "vit" / "model.safetensors"
    [note] = pretrained_weights.load_network(Network(of("test_vit", image_size=160)), path).notes
    assert "mean [0.5, 0.5, 0.5] and deviation [0.5, 0.5, 0.5], but" in note
    assert f"{path.parent / 'config.json'} has [0.5, 0.4, 0.3] and [0.2, 0.3, 0.4]" in note
    assert note.endswith(f'which backbone="local-dir:{path.parent}" would use')
    for text in ("<html>", "[]", '{"mean": [0.1], "std": [0.1]}', '{"pretrained_cfg": null}'):
        (path.parent / "config.json").write_text(text)
        network = Network(of("test_vit", image_size=160))
        assert pretrained_weights.load_network(network, path).notes == ()


def test_a_name_of_timm_at_the_hub_is_timms_own() -> None:
    for name in ("timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"):
        assert model_hub.timm_name(name) == "resnet18.a1_in1k"
        assert not model_hub.is_described(name)
        assert own_size(name) == (224, 224)
    assert model_hub.timm_name("timm/resnet18") == "resnet18"
    assert model_hub.is_described("hf-hub:timm/resnet18.newer_than_this_timm")
    with pytest.raises(
        KitboxError, match=r"no weights 'a1_in2k' of resnet18; did you mean a1_in1k"
    ):
        data_config("timm/resnet18.a1_in2k")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "hf-hub:BVRA/MegaDescriptor-L-384",
            "cannot download BVRA/MegaDescriptor-L-384: the .* hub is out of reach; run 'hf "
            "download BVRA/MegaDescriptor-L-384 --local-dir weights/MegaDescriptor-L-384' where "
            "there is a network, and copy that folder into the workspace, or the hub's cache",
        ),
        ("hf-hub:Mega Descriptor", "backbone hf-hub:Mega Descriptor is not OWNER/NAME of the hub"),
        (
            "BVRA/MegaDescriptor-L-384",
            'no backbone BVRA/MegaDescriptor-L-384; a model of the .* named "hf-hub:OWNER/NAME"$',
        ),
        ("mine/resnet18.a1_in1k", 'OWNER/NAME", or timm\'s own, "resnet18.a1_in1k"'),
        ("local-dir:nowhere", "there is no folder .*nowhere of local-dir:nowhere; a relative one"),
        ("local-dir:empty", "backbone local-dir:empty has no config.json.*; name the architecture"),
        ("local-dir:transformers", "config.json of backbone .* is of transformers; name the arch"),
        ("local-dir:text", r"config.json cannot be read: Expecting value"),
        ("local-dir:newer", "names swin_tiny_patch4_window7_225, which timm .* did you mean swin"),
        ("local-dir:grey", "backbone local-dir:grey takes 1 channels, not 3"),
    ],
)
def test_what_is_not_there_or_not_of_timm_is_one_sentence(
    workspace: Path, name: str, message: str
) -> None:
    (workspace / "empty").mkdir()
    write_folder(workspace / "newer", architecture="swin_tiny_patch4_window7_225")
    write_folder(workspace / "grey", pretrained_cfg=CFG | {"input_size": [1, 224, 224]})
    for folder, text in (("transformers", '{"model_type": "dinov2"}'), ("text", "<html>")):
        (workspace / folder).mkdir()
        (workspace / folder / "config.json").write_text(text)
    with pytest.raises(KitboxError, match=message) as caught:
        Network(of(name))
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_refused(workspace: Path) -> None:
    write_folder(workspace / "mega")
    (workspace / "mega" / "model.safetensors").unlink()
    with pytest.raises(KitboxError, match=r"mega has no file of weights, such as model\.safeten"):
        weight_source.resolve_source("hub", "local-dir:mega", workspace)


def test_a_hub_that_does_not_answer_is_asked_once(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            asked.append(url)
            raise OSError(timeout)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    for name in ("hf-hub:one/net", "hf-hub:two/net"):
        with pytest.raises(KitboxError, match="/net: the Hugging Face hub is out of reach"):
            Network(of(name))
    with pytest.raises(KitboxError, match="cannot download the weights of resnet10t"):
        Network(of("resnet10t"), pretrained=True)
    assert asked == ["https://nowhere.invalid"]
    assert not constants.HF_HUB_OFFLINE


def test_weights_of_timm_are_looked_for_under_their_name_at_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def nothing(name: str, file: str) -> None:
        assert file in model_hub.WEIGHTS
        asked.append(name)

    monkeypatch.setattr(model_hub, "_cached", nothing)
    assert model_hub.cached_weights("vit_base_patch14_dinov2.lvd142m") is None
    assert set(asked) == {"hf-hub:timm/vit_base_patch14_dinov2.lvd142m"}
    assert model_hub.cached_weights("no_such_network") is None
