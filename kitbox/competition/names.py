"""Finds the image that a foreign list means by a name: an id, a file name, a stem, a path."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path, PurePosixPath

from kitbox.competition.lists import Listed
from kitbox.competition.placing import IMAGE_SUFFIXES
from kitbox.records import ImageSet


class Names:
    """The images of a competition by every name that a list may call them."""

    def __init__(self, listed: Listed, inside: Path | None = None) -> None:
        """Take all images, or those whose files lie `inside` a folder."""
        self._paths: dict[str, Path] = {}
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for images in (listed.labelled, listed.test, listed.index):
            self._add(images, inside)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._paths)

    def found(self, names: Iterable[str]) -> dict[str, str]:
        """Return name → image id of the names that mean one image.

        Of several names of one image, as 'train/1.jpg' and 'test/1.jpg' where only one is here,
        those count that share most with its path.
        """
        meant = {name: image_id for name in names if (image_id := self._meant(name))}
        nearest: defaultdict[str, int] = defaultdict(int)
        for name, image_id in meant.items():
            nearest[image_id] = max(nearest[image_id], self._shared(name, image_id))
        return {
            name: image_id
            for name, image_id in meant.items()
            if self._shared(name, image_id) == nearest[image_id]
        }

    def guessed(self, found: dict[str, str]) -> dict[str, str]:
        """Return name → what is to be said of it, for names that may not mean what was `found`.

        Those of a file with another suffix, and those of an image that another name means too.
        """
        said: dict[str, str] = {}
        first: dict[str, str] = {}
        for name, image_id in found.items():
            path, suffix = self._paths[image_id], _suffix(name)
            other = first.setdefault(image_id, name)
            if other != name:
                said[name] = f"'{name}' is taken for image '{image_id}', as '{other}' is"
            elif name != image_id and suffix in IMAGE_SUFFIXES and suffix != _suffix(path.name):
                said[name] = f"'{name}' is taken for image '{image_id}', whose file is {path.name}"
        return said

    def paths(self, image_ids: Iterable[str]) -> dict[str, Path]:
        """Return image id → file, each once."""
        return {image_id: self._paths[image_id] for image_id in image_ids}

    def _add(self, images: ImageSet | None, inside: Path | None) -> None:
        if images is None:
            return
        for image_id, path in zip(images.image_ids.tolist(), images.paths, strict=True):
            if (inside is None or path.is_relative_to(inside)) and image_id not in self._paths:
                self._paths[image_id] = path
                self._by_file[path.name].append(image_id)
                self._by_stem[path.stem].append(image_id)

    def _meant(self, name: str) -> str | None:
        """Return the one image that a name means, or None where there is none or several."""
        if name in self._paths:
            return name
        last = _parts(name)[-1:]
        file = last[0] if last else ""
        # a dot in a bare name, as in that of a video's frame, parts no suffix from it
        stem = PurePosixPath(file).stem if _suffix(file) in IMAGE_SUFFIXES else file
        for known in (
            self._by_file.get(file),
            self._by_stem.get(file),
            self._by_stem.get(stem),
        ):
            if known:
                shared = [self._shared(name, image_id) for image_id in known]
                most = max(shared)
                return known[shared.index(most)] if shared.count(most) == 1 else None
        return None

    def _shared(self, name: str, image_id: str) -> int:
        """Count the folders above it that a name shares with an image's path; an id shares all."""
        own = self._paths[image_id].parts
        if name == image_id:
            return len(own)
        pairs = zip(reversed(_parts(name)[:-1]), reversed(own[:-1]), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _suffix(name: str) -> str:
    return PurePosixPath(name.strip()).suffix.lower()


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path that may come from Windows."""
    return PurePosixPath(name.strip().replace("\\", "/")).parts
