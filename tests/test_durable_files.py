"""What cannot be made again is on the disk, with its name, when the call that wrote it returns."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.catalogue import catalogue_changes, catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.photograph_folders import link
from kitbox.competition import boxes, presets, pseudo_labels
from kitbox.competition.boxes import Box
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.embedding import cache
from kitbox.files import write_sealed
from kitbox.network.checkpoint import save_checkpoint
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.records import Embeddings, strings
from kitbox.submission import ledger, receipt
from kitbox.training.runs import Run
from kitbox.workspace import Workspace
from tests.network.test_checkpoint import origin_of
from tests.photographs import competition_on_disk, tiny
from tests.submission.packaged import GOOD, receipt_of

SIGNED = Decision("drop", "a.png", by="Ann", time="2026-01-31T12:00:00+00:00")
PSEUDO = PseudoLabel(
    image_id="t.png", label="w_1", confidence=0.9, gap=0.1, round=1, source="a", on="all"
)


class Disk:
    """The calls that sync and name files and folders, in their order, by identity."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[int, int]] = []  # number of the call, file or folder
        self.named: dict[int, int] = {}  # file or folder → number of the call that named it last
        self.calls = 0
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._naming(getattr(os, name), lambda given: given[0]))
        for name in ("mkdir", "symlink"):
            made = 1 if name == "symlink" else 0
            call = self._naming(getattr(os, name), lambda given, made=made: given[made], after=True)
            monkeypatch.setattr(os, name, call)
        real = os.fsync

        def fsync(file: int) -> None:
            real(file)
            self.calls += 1
            self.synced.append((self.calls, os.fstat(file).st_ino))

        monkeypatch.setattr(os, "fsync", fsync)

    def _naming(
        self, real: Callable[..., Any], path: Callable[..., Any], *, after: bool = False
    ) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            number = None if after else os.lstat(path(given)).st_ino
            result = real(*given, **options)
            self.calls += 1
            self.named[number or os.lstat(path(given)).st_ino] = self.calls
            return result

        return call

    def _is_synced(self, node: int, *, after: int = 0, before: float = float("inf")) -> bool:
        return any(after < number < before for number, each in self.synced if each == node)

    def unsafe(self, folder: Path) -> Iterator[str]:
        """Yield each file or folder below a folder that a loss of power may take."""
        for path in sorted(folder.rglob("*")):
            if path.name.endswith("lock") or path.relative_to(folder).parts[0] == "before":
                continue
            own, above = path.lstat().st_ino, path.parent.stat().st_ino
            named, into = self.named.get(own), self.named.get(above, 0)
            if named is None and all(self._is_synced(node, before=into) for node in (own, above)):
                continue  # its folder got its name when it was whole
            if named is None:
                yield f"{path.name} was written in place"
            elif path.is_file() and not self._is_synced(own, before=named):
                yield f"{path.name} has its name before its bytes are synced"
            elif not self._is_synced(above, after=named):
                yield f"{path.parent.name}/ is not synced after {path.name} is named"


def change_the_catalogue(folder: Path) -> None:
    rows = (CatalogueRow("a.jpg", "W-1"), CatalogueRow("b.jpg", "W-2"))
    catalogue_list.save(folder / "catalogue.csv", rows)
    workspace = Workspace(folder)
    for old, new in (("W-1", "W-3"), ("W-3", "W-4")):

        def renamed(rows: Any, old: str = old, new: str = new) -> Any:
            return catalogue_changes.renamed(rows, old, new)

        catalogue_changes.change(workspace, "rename", renamed, by="Ann")


def save_a_network(folder: Path) -> None:
    plugin = tiny()
    trained = TrainedNetwork(Network(plugin), plugin, np.array([3, 1]))
    save_checkpoint(folder / "runs" / "tiny" / "last.safetensors", trained, origin_of(plugin))


def decide(folder: Path) -> None:
    path = folder / "decisions.csv"
    decision_file.add(path, Decision("drop", "b.png"))
    decision_file.add(path, SIGNED)
    decision_file.add(path, Decision("drop", "c.png"), Decision("drop", "d.png"))
    decision_file.remove(path, SIGNED)


def append_to_the_ledger(folder: Path) -> None:
    for number in range(2):
        ledger.append(Workspace(folder), "sent", "2026-01-31_a_1f2e3d4c", ref=number)


def keep_embeddings(folder: Path) -> None:
    found = Embeddings(strings(["a.png"]), np.full((1, 4), 0.5, np.float32))
    cache.save(Workspace(folder), cache.key({}), found, {})


def log_epochs(folder: Path) -> None:
    run = Run(folder)
    for epoch in range(3):
        run.log("epoch", epoch=epoch, seconds=1.0, images_per_second=9.0, loss=0.5)
    run.discard_after(1)


def link_photographs(folder: Path) -> None:
    (folder / "before" / "season").mkdir(parents=True)
    link(folder / "workspace" / "photographs", folder / "before" / "season")


def begin_a_workspace(folder: Path) -> None:
    competition_on_disk(folder / "before")
    presets.init(Workspace(folder / "workspace"), "humpback", folder / "before" / "data")


KINDS: dict[str, Callable[[Path], Any]] = {
    "settings": begin_a_workspace,
    "ledger": append_to_the_ledger,
    "decisions": decide,
    "catalogue": change_the_catalogue,
    "links to photographs": link_photographs,
    "checkpoint": save_a_network,
    "state of a training": lambda folder: write_sealed(folder / "state.pt", b"1"),
    "journal": log_epochs,
    "receipt": lambda folder: receipt.save(Workspace(folder), receipt_of(GOOD), GOOD),
    "boxes": lambda folder: boxes.replace(
        folder / "boxes.csv", "me", [Box("a.png", (0, 0, 9, 9), None, "me")]
    ),
    "pseudo-labels": lambda folder: pseudo_labels.save(folder / "pseudo.csv", [PSEUDO]),
    "embeddings": keep_embeddings,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_of_power_takes_nothing_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    disk = Disk(monkeypatch)
    KINDS[kind](tmp_path)
    assert disk.named
    assert list(disk.unsafe(tmp_path)) == []
