"""A user's own code: found, digested with what it imports, run, and its mistakes located."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kitbox.errors import KitboxError
from kitbox.plugin import discovery, source_code
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.source_code import SourceCode
from kitbox.workspace import Workspace

PLUGIN = """\
from kitbox import Custom, Plugin

plugin = Plugin(
    backbone="resnet10t",
    image_size=64,
    augmentation="myaug:build",
    losses=(Custom("nets.mylosses:Circle", settings={{"m": {m}}}),),
    epochs=3,
)
"""
WIDTH = "WIDTH = 7\n"


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the code that other tests have read."""
    monkeypatch.setattr(source_code, "_files", {})
    monkeypatch.setattr(source_code, "_references", set())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace with a plugin of own code, which imports other code of its own."""
    place = Workspace(tmp_path)
    write(tmp_path, "plugins/resnet10t_64_own.py", PLUGIN.format(m=0.25))
    write(tmp_path, "myaug.py", "import nets.sizes\n\ndef build(height, width): return print\n")
    write(tmp_path, "nets/mylosses.py", "import json, math\nfrom .sizes import WIDTH\n")
    write(tmp_path, "nets/sizes.py", WIDTH)
    write(tmp_path, "unused.py", "1 / 0\n")
    return place


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def own(workspace: Workspace) -> Plugin:
    return discovery.load("resnet10t_64_own", workspace).plugin


def function_of(root: Path, text: str) -> Callable[..., object]:
    """Return a function that calls `build` of a module with this text."""
    write(root, "mymodels.py", text)
    code = source_code.read(["mymodels:build"], root)
    return lambda **given: SourceCode.of(["mymodels:build"], code).call("mymodels:build", given)


def test_the_code_of_a_plugin_is_that_of_its_modules_and_of_what_they_import(
    workspace: Workspace,
) -> None:
    assert list(own(workspace).code) == ["myaug.py", "nets/mylosses.py", "nets/sizes.py"]


@pytest.mark.parametrize("name", ["myaug.py", "nets/mylosses.py", "nets/sizes.py"])
def test_another_text_of_a_file_is_another_fingerprint(workspace: Workspace, name: str) -> None:
    before = own(workspace).fingerprint
    path = workspace.root / name
    path.write_text(path.read_text() + "# a remark\n")
    assert own(workspace).fingerprint != before
    path.write_text(path.read_text().replace("# a remark\n", ""))
    assert own(workspace).fingerprint == before


def test_the_fingerprint_does_not_depend_on_the_place_of_the_workspace(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "w"
    workspace.root.rename(elsewhere)
    moved = own(Workspace(elsewhere))
    elsewhere.rename(workspace.root)
    assert moved == own(workspace)


def test_code_survives_json_and_is_written_only_where_there_is_some(workspace: Workspace) -> None:
    plugin = own(workspace)
    assert Plugin.read(plugin.model_dump(mode="json")) == plugin
    assert "code" not in Plugin(backbone="resnet10t", image_size=64, epochs=3).model_dump()


def test_a_derived_plugin_has_the_code_that_it_still_names(workspace: Workspace) -> None:
    derived = discovery.load("resnet10t_64_own@augmentation=light", workspace).plugin
    assert list(derived.code) == ["nets/mylosses.py", "nets/sizes.py"]


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("import nets.sizes", "nets.sizes.WIDTH"),
        ("import nets.sizes as s", "s.WIDTH"),
        ("from nets.sizes import WIDTH", "WIDTH"),
        ("from nets import sizes", "sizes.WIDTH"),
        ("from nets import sizes as s, other", "s.WIDTH + other.ONE - 1"),
        ("from .nets.sizes import *", "WIDTH"),
        ("import json, nets.sizes, nets.other", "nets.sizes.WIDTH + json.loads('0')"),
    ],
)
def test_a_module_imports_others_of_the_workspace(
    workspace: Workspace, statement: str, value: str
) -> None:
    write(workspace.root, "nets/other.py", "ONE = 1\n")
    build = function_of(workspace.root, f"{statement}\n\ndef build():\n    return {value}\n")
    assert build() == 7
    assert {"mymodels", "nets", "nets.sizes"}.isdisjoint(sys.modules)


def test_modules_of_one_name_in_two_workspaces_do_not_meet(tmp_path: Path) -> None:
    for folder, width in (("a", 1), ("b", 2)):
        write(tmp_path / folder, "sizes.py", f"W = {width}\n")
    text = "import sizes\ndef build(): return sizes.W\n"
    first, second = (function_of(tmp_path / folder, text) for folder in "ab")
    assert (first(), second(), first()) == (1, 2, 1)


def test_an_edited_module_is_imported_anew(tmp_path: Path) -> None:
    assert function_of(tmp_path, "def build(): return 1\n")() == 1
    assert function_of(tmp_path, "def build(): return 2\n")() == 2


def test_a_function_is_given_what_it_takes(tmp_path: Path) -> None:
    build = function_of(tmp_path, "def build(height, other=3): return height, other\n")
    assert build(height=1, width=2) == (1, 3)


def test_code_runs_in_another_process(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace.root, "mymodels.py", "def build(): return 5\n")
    code = source_code.read(["mymodels:build"], workspace.root)
    sent = pickle.dumps(SourceCode.of(["mymodels:build"], code))
    for name in ("_files", "_imported"):
        monkeypatch.setattr(source_code, name, {})
    assert pickle.loads(sent).call("mymodels:build", {}) == 5  # noqa: S301


def test_a_package_is_recorded_by_its_version(tmp_path: Path) -> None:
    code = source_code.read(["pydantic.main:create_model"], tmp_path)
    assert code == {"pydantic": sys.modules["pydantic"].__version__}
    plugin = SourceCode.of(["pydantic.main:create_model"], code)
    assert plugin.call("pydantic.main:create_model", {}, {"model_name": "A"}).__name__ == "A"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mymodel:build", "mymodel:build: there is no module mymodel; did you mean mymodels?"),
        ("mymodels.py:build", "'mymodels.py:build' names a file; write \"mymodels:build\""),
        ("os:system", "os:system: os is a module of Python itself"),
        (
            "other:build",
            "other:build: there is no module other in FOLDER; move FOLDER/plugins/other.py there: "
            "what lies in plugins/ is read as a plugin",
        ),
        ("zebra.nets:build", "zebra.nets:build: there is no module zebra.nets; write FOLDER/zebra"),
        ("broken:build", "broken.py line 2: invalid syntax"),
        ("latin:build", "latin.py: it is not UTF-8; save it as UTF-8"),
    ],
)
def test_a_module_that_is_not_found_or_not_python_is_named(
    tmp_path: Path, reference: str, message: str
) -> None:
    write(tmp_path, "mymodels.py", "")
    write(tmp_path, "broken.py", "\nx = = 1\n")
    write(tmp_path, "plugins/other.py", "")
    (tmp_path / "latin.py").write_bytes("# é".encode("latin-1"))
    with pytest.raises(KitboxError) as caught:
        source_code.read([reference], tmp_path)
    assert str(caught.value).startswith(message.replace("FOLDER", str(tmp_path)))


def test_a_mistake_in_code_names_the_plugin_that_names_it(workspace: Workspace) -> None:
    (workspace.root / "myaug.py").unlink()
    with pytest.raises(KitboxError, match=r"^plugins/resnet10t_64_own.py: myaug:build: there is"):
        own(workspace)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n1 / 0\n", "mymodels.py line 2: ZeroDivisionError: division by zero"),
        ("import nonsense_9\n", "mymodels.py line 1: ModuleNotFoundError: No module named 'nons"),
        ("def biuld(): 1\n", "mymodels:build: mymodels.py has no 'build'; did you mean biuld?"),
        ("build = 3\n", "mymodels:build: it is no function, but an int"),
        (
            "def build(depth): 1\n",
            "mymodels:build: it takes 'depth', which kitbox does not give it; kitbox gives height; "
            "let 'depth' have a default",
        ),
        ("def build(x, /): 1\n", "mymodels:build: it takes 'x', which kitbox does not give it"),
        (
            "def build():\n    return help_me(3)\ndef help_me(x):\n    return x['a']\n",
            "mymodels.py line 4: TypeError: 'int' object is not subscriptable",
        ),
        ("def build():\n    raise SystemExit(3)\n", "mymodels.py line 2: SystemExit: 3"),
    ],
)
def test_a_mistake_in_a_users_code_is_told_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        function_of(tmp_path, text)(height=3)
    assert str(caught.value).startswith(message)


def test_code_that_no_plugin_here_names_is_not_run(workspace: Workspace) -> None:
    plugin = own(workspace)
    stranger = plugin.model_copy(update={"code": {**plugin.code, "myaug.py": "12" * 32}})
    with pytest.raises(KitboxError, match=r"^this needs myaug.py \(sha256 121212121212\); code is"):
        _ = stranger.source_code
    for augmentation in ("os:system", "myaug:remove", "subprocess:run"):
        stranger = plugin.model_copy(update={"augmentation": augmentation})
        with pytest.raises(KitboxError, match=rf"{augmentation} \(no plugin here names it\); code"):
            _ = stranger.source_code


@pytest.mark.parametrize("name", ["../x.py", "/etc/x.py", "a/../../x.py", "a b.py", "", ".."])
def test_the_name_of_a_file_of_code_stays_in_the_workspace(name: str) -> None:
    with pytest.raises(KitboxError, match="which is the name of no file or package"):
        Plugin.read({"backbone": "a:b", "image_size": 64, "epochs": 1, "code": {name: "1"}})


def test_a_plugin_file_cannot_set_its_code(workspace: Workspace) -> None:
    text = PLUGIN.format(m=0.25).replace("epochs=3", "epochs=3, code={'myaug.py': '1'}")
    write(workspace.root, "plugins/resnet10t_64_own.py", text)
    with pytest.raises(KitboxError, match=r"own.py: code is set by kitbox; leave it out"):
        own(workspace)
