"""Workspace: the folder of one competition, and the paths in it."""

import os
from dataclasses import dataclass
from pathlib import Path

from kitbox.errors import KitboxError

SETTINGS = "kitbox.toml"


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace; everything in `cache` can be computed again and is not committed."""

    root: Path
    cache_name: str = ".kitbox"

    @property
    def settings(self) -> Path:
        """Settings of the competition: `kitbox.toml`."""
        return self.root / SETTINGS

    @property
    def plugins(self) -> Path:
        """Plugin files."""
        return self.root / "plugins"

    @property
    def submissions(self) -> Path:
        """Submissions, a folder each."""
        return self.root / "submissions"

    @property
    def holdout(self) -> Path:
        """The split into train and holdout: one row for each labelled image."""
        return self.root / "holdout.csv"

    @property
    def decisions(self) -> Path:
        """Decisions of people about images and labels; see `kitbox.decisions`."""
        return self.root / "decisions.csv"

    @property
    def boxes(self) -> Path:
        """Imported or predicted boxes: image,x0,y0,x1,y1,confidence,source."""
        return self.root / "boxes.csv"

    @property
    def pseudo_labels(self) -> Path:
        """Labels of test images predicted by networks; see `competition.pseudo_labels`."""
        return self.root / "pseudo.csv"

    @property
    def catalogue(self) -> Path:
        """Known individuals and their photographs; see `catalogue.catalogue_list`."""
        return self.root / "catalogue.csv"

    @property
    def catalogue_history(self) -> Path:
        """Every change of the catalogue; see `catalogue.catalogue_changes`."""
        return self.root / "catalogue-history.csv"

    @property
    def catalogue_change(self) -> Path:
        """Files of a change of the catalogue that was interrupted while they took their places."""
        return self.root / ".catalogue-change"

    @property
    def queries(self) -> Path:
        """The photographs to identify; see `identification.catalogue_workspace`."""
        return self.root / "photographs.csv"

    @property
    def photographs(self) -> Path:
        """Links to folders of photographs; see `catalogue.photograph_folders`."""
        return self.root / "photographs"

    @property
    def cache(self) -> Path:
        """Everything that can be computed again."""
        return self.root / self.cache_name

    @property
    def runs(self) -> Path:
        """Training runs: checkpoints, journals, curves."""
        return self.cache / "runs"

    @property
    def embeddings(self) -> Path:
        """Cached embeddings."""
        return self.cache / "embeddings"

    @property
    def local_features(self) -> Path:
        """Keypoints of images with their descriptors; see `keypoints.match_cache`."""
        return self.cache / "keypoints.sqlite"

    @property
    def local_matches(self) -> Path:
        """Matches of pairs of images; see `keypoints.match_cache`."""
        return self.cache / "matches.sqlite"

    @property
    def engines(self) -> Path:
        """Networks as ONNX graphs, and which engine is the faster one for a network."""
        return self.cache / "engines"

    @property
    def imported(self) -> Path:
        """Embeddings of other programs, a folder each; see `embedding.imported_embeddings`."""
        return self.root / "embeddings"

    @property
    def pixel_cache(self) -> Path:
        """Cached pixels: images decoded, cropped and resized for networks."""
        return self.cache / "prepared"

    @property
    def detectors(self) -> Path:
        """Trained detectors of boxes."""
        return self.cache / "detectors"

    @property
    def reports(self) -> Path:
        """Pages and tables to read."""
        return self.cache / "reports"

    @property
    def thumbnails(self) -> Path:
        """Thumbnails for pages."""
        return self.cache / "thumbnails.sqlite"

    @property
    def weights(self) -> Path:
        """Backbone weights: KITBOX_WEIGHTS, else `weights`."""
        return Path(os.environ.get("KITBOX_WEIGHTS", self.root / "weights"))

    @property
    def image_index(self) -> Path:
        """The index of image files; see `images.file_index`."""
        return self.cache / "images.sqlite"


def find_workspace(start: Path | None = None) -> Workspace:
    """Return the workspace `start` or KITBOX_WORKSPACE, else the nearest one of the current folder.

    The current folder and those above it are searched. Raises KitboxError where there is no
    `kitbox.toml`.
    """
    variable = os.environ.get("KITBOX_WORKSPACE")
    named = start or (Path(variable) if variable else None)
    if named is not None:
        if not (named / SETTINGS).is_file():
            raise KitboxError(
                f"{named} is not a workspace: it has no {SETTINGS}",
                fix=f"make one with 'kitbox init {named} --preset NAME --data DIR'",
            )
        return Workspace(named.resolve())
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SETTINGS).is_file():
            return Workspace(folder)
    raise KitboxError(
        f"no workspace: neither {here} nor a folder above it has a {SETTINGS}",
        fix="make one with 'kitbox init --preset NAME --data DIR', or name one with --workspace",
    )
