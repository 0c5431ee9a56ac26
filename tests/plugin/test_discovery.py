"""Discovery: plugins of the workspace, kitbox and packages are found, and mistakes are named."""

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from kitbox.errors import KitboxError
from kitbox.network.backbone import is_backbone
from kitbox.plugin import discovery
from kitbox.plugin.plugin import Plugin
from kitbox.workspace import Workspace

GOOD = """\
from kitbox import ArcFace, Plugin

plugin = Plugin(
    backbone="{backbone}",
    image_size={image_size},
    losses=(ArcFace(margin={margin}),),
    epochs=3,
)
"""


def good(backbone: str = "resnet10t", image_size: object = 64, margin: float = 0.5) -> str:
    return GOOD.format(backbone=backbone, image_size=image_size, margin=margin)


def write(workspace: Workspace, name: str, text: str) -> Path:
    path = workspace.plugins / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that replaces the plugins that kitbox ships."""
    folder = tmp_path_factory.mktemp("shipped")
    monkeypatch.setattr(discovery, "shipped_folder", lambda: folder)
    return folder


@pytest.fixture
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an installed package `whaletools`, whose module is still missing."""
    site = tmp_path_factory.mktemp("site")
    about = site / "whaletools-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: whaletools\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[kitbox.plugins]\nresnet10t_96 = whaletools_plugins:plugin\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "whaletools_plugins", raising=False)
    return site


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "from kitbox import ArcFace, Plugin\n"
            "plugin = Plugin(backbone='r', image_size=64, epochs=1, losses=[ArcFace(margn=0.5)])\n",
            "plugins/mine.py: 'margn' is not a setting of ArcFace; did you mean margin?",
        ),
        (
            "from kitbox import Plugin\nplugin = Plugin(backbone='r', image_size=64, epoch=1)\n",
            "plugins/mine.py: 'epoch' is not a setting of Plugin; did you mean epochs?",
        ),
        (
            "from kitbox import Plugin\nplugin = Plugin(backbone='r', image_size=64, epochs='all')",
            "plugins/mine.py: epochs = 'all' should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            "from kitbox import Plugin\n\nplugin = = Plugin()\n",
            "plugins/mine.py line 3: invalid syntax; mend the file, or move it out of the folder",
        ),
        (
            "from kitbox import Plugin\nplugn = 1\n",
            "plugins/mine.py sets no plugin; end it with 'plugin = Plugin(...)'",
        ),
        (
            "plugin = {'backbone': 'r'}\n",
            "plugins/mine.py sets no plugin; end it with 'plugin = Plugin(...)'",
        ),
        ("", "plugins/mine.py sets no plugin; end it with 'plugin = Plugin(...)'"),
        (
            "side = '620px'\n\nimage_size = int(side)\n",
            "plugins/mine.py line 3: ValueError: invalid literal for int() with base 10: '620px'; "
            "mend the file, or move it out of the folder",
        ),
        (
            "\nimport whale_losses\n",
            "plugins/mine.py line 2: ModuleNotFoundError: No module named 'whale_losses'; install "
            "the package of whale_losses, or move the file out of the folder",
        ),
    ],
    ids=[
        "typo in a loss",
        "typo in a plugin",
        "wrong type",
        "syntax error",
        "another name",
        "another type",
        "empty file",
        "wrong value",
        "missing package",
    ],
)
def test_a_mistake_in_a_plugin_file_is_one_sentence(
    workspace: Workspace, text: str, message: str
) -> None:
    write(workspace, "mine", text)
    with pytest.raises(KitboxError) as caught:
        discovery.load("mine", workspace)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "losses=(torch.nn.CrossEntropyLoss(),)",
            "losses.0 is an object of torch.nn.modules.loss.CrossEntropyLoss, but a setting holds "
            "no code; it takes words, numbers and what can be imported from kitbox, such as "
            "ArcFace()",
        ),
        (
            "losses=(lambda embeddings, labels: 0,)",
            "losses.0 is a function, but a setting holds no code; it takes words, numbers and what "
            "can be imported from kitbox, such as ArcFace()",
        ),
        (
            "augmentation=A.Compose([A.HorizontalFlip()])",
            "augmentation is an object of albumentations.core.composition.Compose, but a setting "
            "holds no code; it takes one of 'none', 'light' or 'gdsc2020'",
        ),
        (
            "optimizer=torch.optim.Adam",
            "optimizer is the class torch.optim.adam.Adam, but a setting holds no code; it takes "
            "one of 'adam', 'adamw' or 'sgd'",
        ),
        ("losses=(ArcFace,)", "losses.0 is the class ArcFace; write ArcFace() for its value"),
        ("losses=ArcFace()", "losses is a tuple; write losses=(ArcFace(...),)"),
        ("losses='ArcFace'", "losses = 'ArcFace' should be a tuple, written as (A, B) or (A,)"),
        (
            "sampler='PK'",
            "sampler = 'PK' is a word; it takes a value of kitbox, written as PK()",
        ),
        (
            "sampler=ArcFace()",
            "sampler = ArcFace is none of Shuffled, Balanced, PK, Hardness",
        ),
    ],
)
def test_code_and_classes_in_place_of_values_are_refused_in_plain_words(
    workspace: Workspace, setting: str, message: str
) -> None:
    text = "import albumentations as A\nimport torch\nfrom kitbox import ArcFace, Plugin\n"
    write(
        workspace,
        "mine",
        f"{text}plugin = Plugin(backbone='r', image_size=64, epochs=1, {setting})\n",
    )
    with pytest.raises(KitboxError) as caught:
        discovery.load("mine", workspace)
    assert str(caught.value) == f"plugins/mine.py: {message}"


def test_an_import_that_kitbox_does_not_export_is_named_with_its_line(workspace: Workspace) -> None:
    path = write(workspace, "mine", "from kitbox import ArcFase\n")
    with pytest.raises(KitboxError) as caught:
        discovery.read_plugin_file(path)
    message = "plugins/mine.py line 1: ImportError: cannot import name 'ArcFase' from 'kitbox'"
    assert str(caught.value).startswith(message)


def test_an_error_inside_a_library_names_the_line_of_the_plugin(workspace: Workspace) -> None:
    path = write(workspace, "mine", "import json\n\n\nsettings = json.loads('{')\n")
    with pytest.raises(KitboxError) as caught:
        discovery.read_plugin_file(path)
    assert str(caught.value).startswith("plugins/mine.py line 4: JSONDecodeError: ")


@pytest.mark.parametrize(
    "data", [b"name = '\xff'\n", b"plugin = 1\0\n"], ids=["not UTF-8", "null byte"]
)
def test_a_file_that_is_not_text_is_refused(workspace: Workspace, data: bytes) -> None:
    path = workspace.plugins / "mine.py"
    path.write_bytes(data)
    with pytest.raises(KitboxError, match=r"^plugins/mine\.py( line \d+)?: ") as caught:
        discovery.read_plugin_file(path)
    assert "None" not in str(caught.value)


def test_a_plugin_file_may_begin_with_a_byte_order_mark(workspace: Workspace) -> None:
    path = workspace.plugins / "mine.py"
    path.write_bytes(b"\xef\xbb\xbf" + good().replace("\n", "\r\n").encode())
    assert discovery.read_plugin_file(path).backbone == "resnet10t"


def test_an_edited_plugin_is_read_again_even_if_its_time_is_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    fingerprints = []
    for margin in (0.4, 0.5):  # of equal length: only the content differs
        path = write(workspace, "mine", good(margin=margin))
        os.utime(path, (1_600_000_000, 1_600_000_000))
        fingerprints.append(discovery.read_plugin_file(path).fingerprint)
    assert fingerprints[0] != fingerprints[1]


def test_a_shipped_plugin_runs_once_and_again_after_an_edit(
    workspace: Workspace, shipped: Path
) -> None:
    counter = "import sys\nsys.resnet10t_64_runs = getattr(sys, 'resnet10t_64_runs', 0) + 1\n"
    file = shipped / "resnet10t_64.py"
    file.write_text(counter + good())
    try:
        for _ in range(2):
            assert discovery.load("resnet10t_64", workspace).plugin.image_size == 64
        assert vars(sys)["resnet10t_64_runs"] == 1
        file.write_text(counter + good(image_size=96))
        assert discovery.load("resnet10t_64", workspace).plugin.image_size == 96
        assert vars(sys)["resnet10t_64_runs"] == 2
    finally:
        del vars(sys)["resnet10t_64_runs"]
    file.unlink()
    file.symlink_to("nowhere.py")
    with pytest.raises(KitboxError, match=r"resnet10t_64\.py: FileNotFoundError"):
        discovery.load("resnet10t_64", workspace)


def test_reading_plugins_leaves_nothing_in_their_folder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    discovery.read_plugin_file(write(workspace, "mine", good()))
    assert [entry.name for entry in workspace.plugins.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet34_62", "no plugin named resnet34_62; did you mean resnet34_620?"),
        ("xyzzy", "no plugin named xyzzy; there are densenet121_480, resnet34_620"),
    ],
)
def test_an_unknown_name_gets_a_suggestion_or_the_list(
    workspace: Workspace, shipped: Path, name: str, message: str
) -> None:
    write(workspace, "resnet34_620", good())
    write(workspace, "densenet121_480", good(margin=0.4))
    with pytest.raises(KitboxError) as caught:
        discovery.load(name, workspace)
    assert str(caught.value) == message


def test_the_message_about_an_unknown_name_is_complete_without_any_plugin(shipped: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        discovery.load("resnet34_620", None)
    assert str(caught.value).startswith("no plugin named resnet34_620")
    assert not str(caught.value).endswith(("; ", "are", "are "))


def test_an_unedited_copy_is_refused(workspace: Workspace, shipped: Path) -> None:
    write(workspace, "one", good())
    write(workspace, "two", '"""Another text, the same settings."""\n' + good())
    with pytest.raises(KitboxError) as caught:
        discovery.load("two", workspace)
    assert str(caught.value) == (
        "plugins two and one have equal settings; was one copied from the other and not edited?"
    )


def test_a_plugin_like_a_shipped_one_under_another_name_is_refused(
    workspace: Workspace, shipped: Path
) -> None:
    (shipped / "resnet10t_64.py").write_text(good())
    write(workspace, "mine", good())
    with pytest.raises(KitboxError, match=r"^plugins mine and resnet10t_64 have equal settings; "):
        discovery.load("mine", workspace)


def test_a_plugin_of_the_workspace_hides_a_shipped_one_of_its_name(
    workspace: Workspace, shipped: Path
) -> None:
    (shipped / "resnet10t_64.py").write_text(good(margin=0.1))
    assert discovery.load("resnet10t_64", workspace).source == "kitbox"
    path = write(workspace, "resnet10t_64", good(margin=0.2))
    named = discovery.load("resnet10t_64", workspace)
    assert (named.source, named.path) == ("workspace", path)
    assert named.plugin == discovery.read_plugin_file(path)


def test_a_mistake_in_another_file_does_not_stop_a_plugin(
    workspace: Workspace, shipped: Path
) -> None:
    write(workspace, "broken", "plugin = \n")
    write(workspace, "whole", good())
    assert discovery.load("whole", workspace).plugin.backbone == "resnet10t"
    plugins, mistakes = discovery.load_all(workspace)
    assert [named.name for named in plugins] == ["whole"]
    assert [str(mistake) for mistake in mistakes] == [
        "plugins/broken.py line 1: invalid syntax; mend the file, or move it out of the folder"
    ]


def test_bad_files_are_named_once_and_the_others_are_found(
    workspace: Workspace, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in range(64, 83):
        write(workspace, f"resnet10t_{size}", good(image_size=size) + "print('loaded')\n")
    write(workspace, "a_syntax", "plugin = Plugin(\n")
    write(workspace, "an_error", "print(1 / 0)\n")
    write(workspace, "missing", "import whale_losses.arcface\n")
    write(workspace, "nothing", "from kitbox import Plugin\n")
    write(workspace, "leaving", "raise SystemExit('bye')\n")
    write(workspace, "resnet10t_64@epochs=2", good(margin=0.1))
    plugins, mistakes = discovery.load_all(workspace)
    assert [named.name for named in plugins] == [f"resnet10t_{size}" for size in range(64, 83)]
    assert sorted(map(str, mistakes)) == [
        "plugins/a_syntax.py line 1: '(' was never closed; mend the file, or move it out of the "
        "folder",
        "plugins/an_error.py line 1: ZeroDivisionError: division by zero; mend the file, or move "
        "it out of the folder",
        "plugins/leaving.py line 1: SystemExit: bye; mend the file, or move it out of the folder",
        "plugins/missing.py line 1: ModuleNotFoundError: No module named 'whale_losses'; install "
        "the package of whale_losses, or move the file out of the folder",
        "plugins/nothing.py sets no plugin; end it with 'plugin = Plugin(...)'",
        "plugins/resnet10t_64@epochs=2.py: the name of a plugin has no @, which changes a setting; "
        "rename the file",
    ]
    printed = capsys.readouterr()
    assert printed.out == ""  # it may be a JSON document
    assert printed.err.count("loaded") == 19  # each file is run once


@pytest.mark.parametrize(
    ("docstring", "source", "licence"),
    [
        (
            "A network.\n\nWeights: timm, by its hub; licence Apache-2.0.",
            "timm, by its hub",
            "Apache-2.0",
        ),
        (
            "Weights: a file of\nyours; licence CC-BY-NC-4.0 (not for sale).",
            "a file of yours",
            "CC-BY-NC-4.0",
        ),
        ("Text. Weights: x; license none stated: ask\nthe author.", "x", "none stated"),
        ("Weights: x\n\nlicence MIT", "", ""),
        ("A network.", "", ""),
        ("", "", ""),
    ],
)
def test_the_licence_of_weights_is_read_from_the_docstring(
    workspace: Workspace, shipped: Path, docstring: str, source: str, licence: str
) -> None:
    write(workspace, "mine", f'"""{docstring}"""\n' + good())
    terms = discovery.load("mine", workspace).terms
    assert (terms.source, terms.licence) == (source, licence)
    assert discovery.load("mine@epochs=2", workspace).terms == terms


def test_hidden_and_other_files_are_not_plugins(workspace: Workspace, shipped: Path) -> None:
    for name in ("_draft.py", ".mine.py", "notes.txt"):
        (workspace.plugins / name).write_text(good())
    assert discovery.plugin_names(workspace) == []


@pytest.mark.parametrize(
    ("name", "backbone", "image_size", "problem"),
    [
        ("resnet10t_64", "resnet10t", 64, None),
        ("resnet10t_64_triplet_long", "resnet10t", 64, None),
        ("resnet10t_160x320", "resnet10t", (160, 320), None),
        ("vit_small_224", "timm/vit_small", 224, None),
        ("resnet10t_64", "resnet10t.c3_in1k", 64, None),
        ("whales_resnet_64_mine", "resnet10t", 64, None),
        ("megadescriptor_l_384", "swin_large_patch4_window12_384", 384, None),
        ("swin_tiny_patch4_window7_224_224", "swin_tiny_patch4_window7_224", 224, None),
        (
            "resnet10t_640",
            "resnet10t",
            64,
            "plugin resnet10t_640 should be named resnet10t_64 or resnet10t_64_<what differs>",
        ),
        (
            "resnet18_64",
            "resnet10t",
            64,
            "plugin resnet18_64 should be named resnet10t_64 or resnet10t_64_<what differs>",
        ),
        (
            "mine",
            "resnet10t",
            64,
            "plugin mine should be named resnet10t_64 or resnet10t_64_<what differs>",
        ),
        (
            "mine_6464",
            "resnet10t",
            64,
            "plugin mine_6464 should be named resnet10t_64 or resnet10t_64_<what differs>",
        ),
    ],
)
def test_a_plugins_name_is_of_its_model_and_pixels(
    workspace: Workspace, name: str, backbone: str, image_size: object, problem: str | None
) -> None:
    write(workspace, name, good(backbone=backbone, image_size=image_size))
    assert discovery.name_problem(discovery.load(name, workspace), is_backbone) == problem


def test_kitbox_ships_plugins() -> None:
    assert {"resnet34_620", "densenet121_480"} <= set(discovery.plugin_names(None))


@pytest.mark.parametrize("name", discovery.plugin_files(None))
def test_a_shipped_plugin_loads_is_unique_well_named_and_documented(name: str) -> None:
    named = discovery.load(name, None)
    assert discovery.name_problem(named, is_backbone) is None
    assert named.source == "kitbox"
    assert named.path is not None
    assert named.path.read_text(encoding="utf-8").startswith('"""')


def test_a_package_can_ship_plugins(package: Path, shipped: Path, workspace: Workspace) -> None:
    (package / "whaletools_plugins.py").write_text(good(image_size=96))
    assert discovery.plugin_names(workspace) == ["resnet10t_96"]
    named = discovery.load("resnet10t_96", workspace)
    assert (named.source, named.path, named.plugin.pixels) == ("whaletools", None, "96")


def test_packages_are_looked_through_once_for_a_path(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert discovery.plugin_names(None) == []
    request.getfixturevalue("package")  # puts its folder on the path
    assert discovery.plugin_names(None) == ["resnet10t_96"]

    def no_search(**_: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(importlib.metadata, "entry_points", no_search)
    assert discovery.plugin_names(None) == ["resnet10t_96"]


def test_a_file_hides_the_plugin_of_a_package(
    package: Path, shipped: Path, workspace: Workspace
) -> None:
    (package / "whaletools_plugins.py").write_text(good(image_size=96))
    write(workspace, "resnet10t_96", good(image_size=96, margin=0.3))
    assert discovery.load("resnet10t_96", workspace).source == "workspace"


def test_an_entry_point_that_is_not_a_plugin_is_refused(package: Path, shipped: Path) -> None:
    (package / "whaletools_plugins.py").write_text("plugin = 1\n")
    with pytest.raises(KitboxError) as caught:
        discovery.load("resnet10t_96", None)
    assert str(caught.value) == "entry point resnet10t_96 of package whaletools is no Plugin"


@pytest.mark.parametrize(
    "text",
    ["import whale_losses\n", "plugin = \n", "no_plugin_here = 1\n"],
    ids=["missing package", "syntax error", "no plugin"],
)
def test_an_entry_point_that_does_not_load_is_one_sentence(
    package: Path, shipped: Path, text: str
) -> None:
    (package / "whaletools_plugins.py").write_text(text)
    with pytest.raises(KitboxError, match=r"resnet10t_96 of package whaletools"):
        discovery.load("resnet10t_96", None)


def test_a_broken_package_does_not_stop_other_plugins(
    package: Path, shipped: Path, workspace: Workspace
) -> None:
    (package / "whaletools_plugins.py").write_text("import whale_losses\n")
    write(workspace, "mine", good())
    assert isinstance(discovery.load("mine", workspace).plugin, Plugin)
