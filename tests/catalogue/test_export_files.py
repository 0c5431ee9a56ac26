"""Which files an export may replace: what an earlier one wrote, and nothing else."""

import shutil
from pathlib import Path

import pytest

from kitbox.catalogue import export_files
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


def test_an_earlier_export_is_replaced_as_long_as_nobody_changed_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "e.csv"
    export_files.refuse_others(workspace, [file])
    file.write_text("exported\n")
    export_files.keep(workspace, [file])
    export_files.refuse_others(workspace, [file])
    file.write_text("exported, and filled in by hand\n")
    with pytest.raises(KitboxError) as caught:
        export_files.refuse_others(workspace, [file])
    assert str(caught.value) == (
        f"{file} is there, and is not what 'kitbox catalogue export' wrote; "
        "name another file, or remove that one"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("catalogue.csv", "catalogue-history.csv", "photographs.csv", "identified.csv"),
        *(
            "kitbox.toml",
            "catalogue-exports.csv",
            "decisions.csv",
            "boxes.csv",
            "Catalogue.CSV",
            "photographs/x.csv",
        ),
        *(".kitbox/x.csv", "plugins/x.csv"),
    ],
)
def test_no_export_takes_a_name_that_the_workspace_has_for_something_else(
    workspace: Workspace, name: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        export_files.refuse_others(workspace, [workspace.root / name])
    first = name.split("/")[0]
    assert str(caught.value) == (
        f"'{first}' in the workspace is not for exports; name another file"
    )


def test_any_other_name_in_the_workspace_is_free(workspace: Workspace) -> None:
    export_files.refuse_others(workspace, [workspace.root / "encounters.csv"])
    export_files.refuse_others(workspace, [workspace.root / "out" / "catalogue.csv"])


def test_earlier_exports_are_known_when_everything_that_can_be_computed_is_deleted(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "e.csv"
    file.write_text("exported\n")
    export_files.keep(workspace, [file])
    shutil.rmtree(workspace.cache)
    export_files.refuse_others(workspace, [file])
    # without its own list every file is protected
    (workspace.root / "catalogue-exports.csv").unlink()
    with pytest.raises(KitboxError, match=r"e\.csv is there, and is not what"):
        export_files.refuse_others(workspace, [file])
