"""All photographs that the lists name, to be looked at whatever was decided of them."""

import io
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from kitbox import tables
from kitbox.competition import decisions, lists
from kitbox.competition.settings import Competition
from kitbox.embedding import embedder
from kitbox.ensemble import meta_embedding
from kitbox.errors import KitboxError
from kitbox.images import file_index, preprocessing
from kitbox.images.file_index import Inspection, Signatures
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Progress, Strings, concatenate, strings
from kitbox.retrieval import knn
from kitbox.training import runs
from kitbox.training.runs import Run
from kitbox.workspace import Workspace

SIDES = ("labelled", "test", "index")


@dataclass(frozen=True)
class Photographs:
    """Labelled, test and index images in one set; its labels are '' where no list tells one.

    `sides (n,)` are "labelled", "test" or "index". `problems` are image id → why it cannot be
    shown. `asked` are the queries of the holdout as written down. `left_out` counts faulty rows.
    `within_group`: nobody is searched beyond the group of an image.
    """

    images: ImageSet
    sides: Strings
    signatures: Signatures
    problems: dict[str, str]
    asked: frozenset[str]
    unknown: str | None
    left_out: int
    within_group: bool = False

    @cached_property
    def rows(self) -> dict[str, int]:
        """Image id → row."""
        return {image_id: row for row, image_id in enumerate(self.images.image_ids.tolist())}

    @cached_property
    def labels(self) -> Strings:
        """The listed labels (n,)."""
        none = np.full(len(self.images), "", dtype=np.str_)
        return none if self.images.labels is None else self.images.labels

    @cached_property
    def names(self) -> frozenset[str]:
        """The individuals that are listed, and the name of nobody in particular."""
        return frozenset(self.labels.tolist()) - {""}

    @cached_property
    def readable(self) -> Strings:
        """The ids of images that can be shown."""
        return strings([i for i in self.images.image_ids.tolist() if i not in self.problems])

    def side(self, image_id: str) -> str:
        """Return the side of an image."""
        return str(self.sides[self.rows[image_id]])

    def label(self, image_id: str) -> str:
        """Return the listed label of an image, '' where there is none."""
        return str(self.labels[self.rows[image_id]])

    def groups(self, image_ids: Strings) -> Strings | None:
        """Return the groups beyond which images are not compared, None where they always are."""
        return self.images.of(image_ids).groups if self.within_group else None

    def part(self, side: str) -> ImageSet:
        """Return the readable images of one side."""
        shown = np.isin(self.images.image_ids, self.readable)
        part = self.images.take((self.sides == side) & shown)
        return part if side == "labelled" else part.without_labels()


def gather(
    workspace: Workspace, competition: Competition
) -> Generator[Progress, None, Photographs]:
    """Return every listed image; faulty rows are counted, unreadable images told; yields Progress.

    Decisions are not obeyed here: what was dropped has to be seen to be taken back. An image with
    no label or with two is shown where they settle it.
    """
    decided = decisions.load(workspace.decisions)
    kept = competition.images.model_copy(update={"broken": "drop"})
    listed = lists.read(competition.model_copy(update={"images": kept}), workspace.boxes, decided)
    parts: dict[str, ImageSet] = {SIDES[0]: listed.labelled}
    for side, others in zip(SIDES[1:], (listed.test, listed.index), strict=True):
        if others is not None:  # in some competitions labelled images are asked about again
            parts[side] = others.take(~np.isin(others.image_ids, listed.labelled.image_ids))
    found: dict[str, Inspection] = {}
    for side, part in parts.items():
        if len(part):
            found[side] = yield from file_index.inspect(part, workspace)
    images, *rest = (inspected.images for inspected in found.values())
    for part in rest:
        images = concatenate(images, part)
    return Photographs(
        images=images,
        sides=strings([side for side, seen in found.items() for _ in range(len(seen.images))]),
        signatures=Signatures(
            np.concatenate([seen.signatures.hashes for seen in found.values()]),
            np.concatenate([seen.signatures.thumbnails for seen in found.values()]),
        ),
        problems={i: why for seen in found.values() for i, why in seen.problems.items()},
        asked=_asked(workspace),
        unknown=competition.images.unknown_label,
        left_out=len(listed.findings),
        within_group=competition.task.within_group,
    )


def _asked(workspace: Workspace) -> frozenset[str]:
    if not workspace.holdout.exists():
        return frozenset()
    rows = tables.rows(workspace.holdout, ("image", "side"))
    return frozenset(image_id for _, (image_id, side) in rows if side == "query")


def by_hash(photographs: Photographs) -> Embeddings:
    """Return the bits of perceptual hashes as vectors: their cosine is 1 − (bits that differ) / 32.

    Unreadable images have none.
    """
    shown = np.isin(photographs.images.image_ids, photographs.readable)
    bits = np.unpackbits(photographs.signatures.hashes[shown], axis=1)
    vectors = (bits.astype(np.float32) * 2 - 1) / np.sqrt(np.float32(bits.shape[1]))
    return Embeddings(photographs.readable, vectors)


def nearest(embeddings: Embeddings, image_id: str, k: int) -> list[tuple[str, float]]:
    """Return the k images most similar to one, with their similarity, best first."""
    asked = strings([image_id])
    if not np.isin(asked, embeddings.image_ids).all():
        return []  # it cannot be read
    found = knn.nearest(embeddings.of(asked), embeddings, k)
    pairs = zip(found.gallery_ids[0].tolist(), found.similarity[0].tolist(), strict=True)
    return [(other, similarity) for other, similarity in pairs if other]


def similarity(embeddings: Embeddings, images: Sequence[str]) -> float | None:
    """Return the least similarity of any two of these images, None where one has no embedding."""
    asked = strings(list(images))
    if len(asked) < 2 or not np.isin(asked, embeddings.image_ids).all():
        return None
    vectors = embeddings.of(asked).vectors
    return float((vectors @ vectors.T).min())


def embed(
    plugins: Sequence[NamedPlugin],
    photographs: Photographs,
    workspace: Workspace,
    *,
    whiten: int | None,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, Embeddings]:
    """Return the meta-embeddings of all readable images, through the cache; yields Progress.

    Boxes and labels decided since a training change nothing here: people look by the newest
    finished run of each plugin, whatever it learnt from.
    """
    found = [_newest(workspace, named) for named in plugins]
    sides = [images for side in SIDES if len(images := photographs.part(side))]
    blocks = []
    for named, checkpoint in zip(plugins, found, strict=True):
        parts = []
        for images in sides:
            part = yield from embedder.embed(named, checkpoint, images, workspace, options=options)
            parts.append(part)
        block = Embeddings(
            strings(np.concatenate([part.image_ids for part in parts])),
            np.concatenate([part.vectors for part in parts]),
        )
        if whiten:
            block = meta_embedding.pca_whiten(block, block.image_ids, min(whiten, block.dim))
        blocks.append(block)
    return meta_embedding.concatenate(blocks, [1.0] * len(blocks))


def behind(plugins: Sequence[NamedPlugin], workspace: Workspace) -> list[str]:
    """Return the plugins whose newest network was trained before decisions.csv changed."""
    return [
        named.name
        for named in plugins
        if runs.decisions_changed_since(workspace, [Run(_newest(workspace, named).path.parent)])
    ]


def _newest(workspace: Workspace, named: NamedPlugin) -> Checkpoint:
    """Return the newest checkpoint that has not seen the holdout, or else one that has.

    A network that has not learnt a wrong label finds it more easily.
    """
    found = (runs.newest(workspace, named, on) for on in ("holdout", "all"))
    newest = next((checkpoint for checkpoint in found if checkpoint is not None), None)
    if newest is None:
        raise KitboxError(f"{named.name} is not trained; run 'kitbox train {named.name}'")
    return newest


# Longest sides that a page may ask for: a grid, a strip, a pair, and zoomed in.
SIZES = (200, 480, 1200, 2800)
# JPEGs in memory: a few thousand of a grid, or a hundred of the largest.
_MOST_BYTES = 100_000_000
_QUALITY = 88


class Pictures:
    """Makes pictures and remembers the last ones; several threads may ask at once."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        """Remember pictures of at most so many bytes together."""
        self._most = most_bytes
        self._kept: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def jpeg(self, path: Path, longest: int) -> bytes:
        """Return an image as a JPEG whose longest side is at most `longest` pixels.

        Raises UnreadableImageError that names the file and what is wrong.
        """
        key = (path, longest, _changed(path))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _encoded(path, longest)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    @property
    def held(self) -> int:
        """How many bytes of pictures are in memory."""
        return self._bytes


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it will say what is wrong


def _encoded(path: Path, longest: int) -> bytes:
    width, height = preprocessing.upright_size(path)
    scale = min(1.0, longest / max(width, height))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    file = io.BytesIO()
    Image.fromarray(preprocessing.read(path, size)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
