"""Inventory of a competition's lists and folders: counts of images, with an example of each kind.

`kitbox init` prints it. Later steps name single images; here stands how many there are and where.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kitbox.competition import folder_scan, list_entries
from kitbox.competition.findings import DataFinding
from kitbox.competition.lists import ListSurvey
from kitbox.competition.settings import Competition, ImageSettings
from kitbox.dataset import label_checks
from kitbox.errors import counted
from kitbox.records import ImageSet

# The most folders that are named.
_MOST_FOLDERS = 3


def inventory_lines(survey: ListSurvey, competition: Competition) -> Iterator[str]:
    """Yield lines on the images of each side, on findings, and on files that are not read."""
    images = competition.images
    sides = (
        (
            "images without labels" if images.unlabelled else "labelled images",
            survey.labelled,
            images.train_list,
        ),
        ("test images", survey.test, list_entries.test_list(images)),
        ("index images", survey.index, None),
    )
    for name, part, listed in sides:
        if part is None:
            continue
        rows = survey.rows.get(listed or "", 0)
        read = f"{listed} has {counted(rows, 'row')}; found " if listed else ""
        yield f"{name}: {read}{len(part)}{_folders(part, images)}{_individuals(part, images)}"
    by_kind: dict[str, list[DataFinding]] = {}
    findings = list(survey.findings)
    if survey.labelled is not None:
        findings += label_checks.label_findings(survey.labelled, competition, survey.places)
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for kind, part_of_kind in by_kind.items():
        yield f"{kind}: {len(part_of_kind)}, as {part_of_kind[0]}"
    if unlisted := unlisted_files(survey, competition):
        first = folder_scan.display_path(unlisted[0], images.root)
        yield f"unlisted: {counted(len(unlisted), 'image')} that no row names, as {first}"
    for finding in names_elsewhere(survey, competition):
        yield f"{finding.kind}: {finding.what}"
    yield from folder_scan.lines(images)


def _individuals(part: ImageSet, images: ImageSettings) -> str:
    """Return how many individuals labelled images show, without the unknown label."""
    if part.labels is None or images.unlabelled:
        return ""
    labels = part.labels.tolist()
    known = len(set(labels) - {"", images.unknown_label})
    unknown = labels.count(images.unknown_label) if images.unknown_label else 0
    also = f" and {counted(unknown, 'image')} of '{images.unknown_label}'" if unknown else ""
    return f"; {counted(known, 'individual')}{also}"


def _folders(part: ImageSet, images: ImageSettings) -> str:
    """Return the folders of images, the fullest first, with their counts if there are several."""
    counts = Counter(folder_scan.display_path(path.parent, images.root) for path in part.paths)
    if set(counts) <= {"."}:
        return " in the data folder" if counts else ""
    if len(counts) == 1:
        return f" in {next(iter(counts))}"
    named = ", ".join(f"{name} ({count})" for name, count in counts.most_common(_MOST_FOLDERS))
    others = len(counts) - _MOST_FOLDERS
    also = f" and {counted(others, 'more folder')}" if others > 0 else ""
    return f" in {named}{also}"


def names_elsewhere(survey: ListSurvey, competition: Competition) -> Iterator[DataFinding]:
    """Yield a finding if files outside the folder of labelled images have the names of listed ones.

    Names in the list that have no folder could mean them too.
    """
    images = competition.images
    side_folders = (images.train_folder, images.test_folder, images.index_folder)
    folders = {images.root / name for name in side_folders if name}
    if survey.labelled is None or images.train_list is None or images.root in folders:
        return
    bare = {
        path.name: path
        for image_id, path in zip(survey.labelled.image_ids, survey.labelled.paths, strict=True)
        if "/" not in image_id
    }
    if images.train_file is not None or not bare:
        return
    found = [
        file
        for file in folder_scan.list_images(images.root)
        if file.name in bare and not folders & set(file.parents)
    ]
    if found:
        one, other = (
            folder_scan.display_path(file, images.root) for file in (bare[found[0].name], found[0])
        )
        what = (
            f"names of {images.train_list} that files outside {images.train_folder} have too: "
            f"{len({file.name for file in found})}, as {one} and {other}"
        )
        yield DataFinding(images.train_list, what, kind="elsewhere", action="keep")


def unlisted_files(survey: ListSurvey, competition: Competition) -> list[Path]:
    """Return the images in the folders that no row names; `folder_scan` counts those without lists.

    A folder whose list cannot be read is left out: all its images would be unlisted.
    """
    images = competition.images
    sides: list[tuple[ImageSet | None, str]] = []
    if images.train_list is not None:
        sides.append((survey.labelled, images.train_folder))
    if images.test_folder is not None:
        sides.append((survey.test, images.test_folder))
    used = {
        path for part in survey.sets if part is not None for path in part.paths
    } | survey.named_files
    found: dict[Path, None] = {}
    for part, name in sides:
        folder = images.root / name
        if part is not None and folder.is_dir():
            found |= dict.fromkeys(
                file for file in folder_scan.list_images(folder) if file not in used
            )
    return list(found)


def excluded_files(survey: ListSurvey, competition: Competition) -> list[Path]:
    """Return the images left out because of their row, or of a list that cannot be read."""
    images = competition.images
    used = {path for part in survey.sets if part is not None for path in part.paths}
    found = set(survey.named_files)
    sides = ((survey.labelled, images.train_folder), (survey.test, images.test_folder))
    for part, name in sides:
        if part is None and name is not None and (images.root / name).is_dir():
            found |= set(folder_scan.list_images(images.root / name))
    return sorted(found - used)
