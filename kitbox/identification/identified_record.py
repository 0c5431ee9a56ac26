"""The record of the last answers of identify, for the matching desk: what they were made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.decisions import decision_file
from kitbox.errors import KitboxError
from kitbox.files import digest_of, digest_of_file, read_json, write_json
from kitbox.identification.photograph_answers import Answer, CandidateIndividual, Identification
from kitbox.workspace import Workspace

# Records of another version are told and not read.
_VERSION = 1
# Digits of a probability: identified.csv has three of them.
_DIGITS = 6
# What answers depend on, in the order in which a change is told.
_CAUSES = ("decisions.csv", "catalogue.csv", "boxes.csv", "a photograph")


@dataclass(frozen=True, kw_only=True)
class IdentifiedRecord:
    """The answers of a run, and what caused them.

    `networks` are the names of the plugins, as commands take them. `causes` maps what the answers
    depend on, in words, to its digest.
    """

    networks: tuple[str, ...]
    answers: tuple[Answer, ...]
    causes: Mapping[str, str]

    @property
    def is_calibrated(self) -> bool:
        """Whether the answers have probabilities."""
        return any(answer.new_probability is not None for answer in self.answers)

    def changed_since(self, workspace: Workspace, digests: Mapping[str, str]) -> str:
        """Return what the answers depend on and has changed since, '' where they still hold.

        `digests` maps the photographs that can be read now to the digests of their files. Raises
        KitboxError for a faulty catalogue.csv.
        """
        asked = [answer.image for answer in self.answers]
        left_out = decision_file.load(workspace.decisions).left_out
        listed = catalogue_list.load(workspace.catalogue)
        rows = [row for row in listed if row.image not in left_out]
        now = _causes(rows, asked, digests, workspace)
        return next((name for name in _CAUSES if now[name] != self.causes.get(name)), "")


def path_of(workspace: Workspace) -> Path:
    """Return where the record of a workspace lies."""
    return workspace.cache / "identified.json"


def save(found: Identification) -> None:
    """Write the record of answers into their workspace, in place of an earlier one."""
    opened, images = found.catalogue.opened, found.catalogue.images
    columns = (
        opened.images.image_ids,
        opened.individuals,
        opened.dates,
        opened.places,
        opened.sides,
        opened.encounters,
    )
    rows = [CatalogueRow(*map(str, cells)) for cells in zip(*columns, strict=True)]
    digests = {
        str(image): str(digest)
        for part in (images, found.queries)
        for image, digest in zip(part.image_ids, part.file_digests, strict=True)
    }
    asked = [answer.image for answer in found.answers]
    record = {
        "version": _VERSION,
        "networks": list(found.catalogue.networks),
        "causes": _causes(rows, asked, digests, found.workspace),
        "answers": [_as_json(answer) for answer in found.answers],
    }
    write_json(path_of(found.workspace), record)


def load(workspace: Workspace) -> IdentifiedRecord | None:
    """Return the record of a workspace, None where there is none.

    Raises KitboxError for a record that is damaged or of another version of kitbox.
    """
    path = path_of(workspace)
    if not path.is_file():
        return None
    written = read_json(path)
    try:
        if written["version"] != _VERSION:
            raise KitboxError(f"{path} is of another version of kitbox", fix=_AGAIN)
        return IdentifiedRecord(
            networks=tuple(written["networks"]),
            answers=tuple(map(_answer, written["answers"])),
            causes=dict(written["causes"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise KitboxError(f"{path} is damaged", fix=_AGAIN) from error


_AGAIN = "run 'kitbox identify' again"


def _causes(
    rows: Iterable[CatalogueRow],
    asked: Sequence[str],
    digests: Mapping[str, str],
    workspace: Workspace,
) -> dict[str, str]:
    """Return what answers depend on → its digest; of the catalogue the photographs that are there.

    Which photographs are asked about matters too: whitening is fitted on them, and copies among
    them have a note.
    """
    known = sorted(astuple(row) for row in rows if row.image in digests)
    boxes, decided = workspace.boxes, decision_file.load(workspace.decisions)
    names = sorted({*asked, *(row[0] for row in known)})
    found = (
        digest_of([sorted(decided.left_out), sorted(decided.boxes.items())]),
        digest_of(known),
        digest_of_file(boxes) if boxes.is_file() else "",
        digest_of([(name, digests.get(name, "")) for name in names]),
    )
    return dict(zip(_CAUSES, found, strict=True))


def _as_json(answer: Answer) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, _DIGITS)

    candidates = [
        asdict(one)
        | {"similarity": rounded(one.similarity), "probability": rounded(one.probability)}
        for one in (*answer.candidates, *answer.others)
    ]
    return {
        "image": answer.image,
        "path": str(answer.path),
        "verdict": answer.verdict,
        "new_probability": rounded(answer.new_probability),
        "notes": list(answer.notes),
        "candidates": candidates,
    }


def _answer(written: Mapping[str, Any]) -> Answer:
    candidates = tuple(
        CandidateIndividual(
            individual=str(one["individual"]),
            similarity=float(one["similarity"]),
            probability=_probability(one["probability"]),
            photographs=tuple(map(str, one["photographs"])),
        )
        for one in written["candidates"]
    )
    return Answer(
        image=str(written["image"]),
        path=Path(written["path"]),
        verdict=str(written["verdict"]),
        new_probability=_probability(written["new_probability"]),
        candidates=candidates,
        notes=tuple(map(str, written["notes"])),
    )


def _probability(value: Any) -> float | None:
    return None if value is None else float(value)
