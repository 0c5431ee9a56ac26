"""Layouts of competitions about things: hotel rooms, landmarks and goods in a shop."""

from collections.abc import Iterable
from pathlib import Path

from kitbox.synthetic.catalogue import (
    Catalogue,
    Photograph,
    TruthRow,
    group_by_individual,
    hash_words,
    move_photographs,
    number_names,
    pick,
    random_time,
    require_pairs,
    write_list,
)

CHAINS = 10  # of hotels; few, so that a chain has several hotels
MAX_MATCHES = 50  # in a row of Shopee, the query included


def hotel_id_2021(drawn: Catalogue) -> list[TruthRow]:
    """Put train into a folder per chain of hotels, with a list."""
    hotels = number_names(drawn.known)
    chains = {who: str(hotel % CHAINS) for who, hotel in hotels.items()}
    train = drawn.folder / "train_images"
    rows = [
        (one.name, chains[one.individual], hotels[one.individual], random_time(one.name))
        for one in drawn.train
    ]
    write_list(drawn.folder / "train.csv", ("image", "chain", "hotel_id", "timestamp"), rows)
    move_photographs(drawn.train, lambda one: train / chains[one.individual] / one.name)
    return _hotel_queries(drawn, hotels, "image")


def hotel_id_2022(drawn: Catalogue) -> list[TruthRow]:
    """Put train into a folder per hotel, without a list."""
    hotels = number_names(drawn.known)
    train = drawn.folder / "train_images"
    move_photographs(drawn.train, lambda one: train / str(hotels[one.individual]) / one.name)
    return _hotel_queries(drawn, hotels, "image_id")


def landmark_recognition(drawn: Catalogue) -> list[TruthRow]:
    """Answers are a landmark and a confidence; queries of unknown landmarks have an empty label."""
    landmarks = number_names(drawn.individuals)
    _write_landmarks(drawn.folder, drawn.train, landmarks)
    _move_landmarks(drawn.folder / "test", drawn.test)
    example = f"{min(landmarks[who] for who in drawn.known)} 0.0"
    sample = [(one.hex_id, example) for one in drawn.test]
    write_list(drawn.folder / "sample_submission.csv", ("id", "landmarks"), sample)
    return [
        TruthRow(
            one.hex_id,
            str(landmarks[one.individual]) if one.individual in drawn.known else "",
            one.individual,
        )
        for one in drawn.test
    ]


def landmark_retrieval(drawn: Catalogue) -> list[TruthRow]:
    """Move half of train, and test photographs of some unknown landmarks, to an index.

    The index has all photographs of every fourth landmark and a third of those of the others. Every
    second landmark that is not in train is in the index and has no queries.
    """
    landmarks = number_names(drawn.individuals)
    indexed = {one for one in drawn.train if one.is_complete and _in_index(one, landmarks)}
    unqueried = {
        one
        for one in drawn.test
        if one.individual not in drawn.known and landmarks[one.individual] % 2
    }
    index = [one for one in (*drawn.train, *drawn.test) if one in indexed | unqueried]
    queries = [one for one in drawn.test if one not in unqueried]
    train = [one for one in drawn.train if one not in indexed]
    _write_landmarks(drawn.folder, train, landmarks)
    _move_landmarks(drawn.folder / "index", index)
    _move_landmarks(drawn.folder / "test", queries)
    example = " ".join(one.hex_id for one in index[:3])
    sample = [(one.hex_id, example) for one in queries]
    write_list(drawn.folder / "sample_submission.csv", ("id", "images"), sample)
    return [
        TruthRow(one.hex_id, str(landmarks[one.individual]), one.individual)
        for one in (*queries, *index)
    ]


def shopee(drawn: Catalogue) -> list[TruthRow]:
    """Move whole groups to test: a third of those with two or more photographs, and unknown ones.

    Groups with a broken photograph, or too large for one row, stay in train, with their test
    photographs.
    """
    groups = group_by_individual((*drawn.train, *drawn.test))
    several = {who for who, group in groups.items() if 1 < len(group) <= MAX_MATCHES}
    hideable = (who for who in several if all(one.is_complete for one in groups[who]))
    hidden = (several - drawn.known) | {
        who for who, number in number_names(hideable).items() if number % 3 == 1
    }
    require_pairs(hidden, drawn)
    label_groups = number_names(groups)
    train = [one for who in groups.keys() - hidden for one in groups[who]]
    test = [one for who in hidden for one in groups[who]]
    _write_postings(drawn.folder, "train", train, label_groups)
    queries = _write_postings(drawn.folder, "test", test, None)
    sample = [(posting_id, posting_id) for posting_id in queries]
    write_list(drawn.folder / "sample_submission.csv", ("posting_id", "matches"), sample)
    return [
        TruthRow(posting_id, str(label_groups[one.individual]), one.individual)
        for posting_id, one in queries.items()
    ]


def _hotel_queries(drawn: Catalogue, hotels: dict[str, int], column: str) -> list[TruthRow]:
    """Write the queries; their hotels are all in train, so unknown ones are left out."""
    known = [one for one in drawn.test if one.individual in hotels]
    for one in set(drawn.test) - set(known):
        one.path.unlink()
    example = " ".join(str(hotel) for hotel in sorted(hotels.values())[:5])
    sample = [(one.name, example) for one in known]
    write_list(drawn.folder / "sample_submission.csv", (column, "hotel_id"), sample)
    move_photographs(known, lambda one: drawn.folder / "test_images" / one.name)
    return [TruthRow(one.name, str(hotels[one.individual]), one.individual) for one in known]


def _in_index(one: Photograph, landmarks: dict[str, int]) -> bool:
    return landmarks[one.individual] % 4 == 1 or pick(range(3), "index", one.name) == 0


def _write_landmarks(root: Path, train: Iterable[Photograph], landmarks: dict[str, int]) -> None:
    rows = [(one.hex_id, landmarks[one.individual]) for one in train]
    write_list(root / "train.csv", ("id", "landmark_id"), rows)
    _move_landmarks(root / "train", train)


def _move_landmarks(part: Path, photographs: Iterable[Photograph]) -> None:
    """Move photographs three folders deep, by the first three digits of their ids."""
    move_photographs(
        photographs, lambda one: part.joinpath(*one.hex_id[:3], one.hex_id + one.path.suffix)
    )


def _write_postings(
    root: Path, part: str, photographs: list[Photograph], label_groups: dict[str, int] | None
) -> dict[str, Photograph]:
    """Write the list of one part and move its photographs; return them by posting id."""
    ordered = sorted(photographs, key=lambda one: hash_words(one.name))
    postings = {f"{part}_{number}": one for number, one in enumerate(ordered, 1)}
    header, rows = ["posting_id", "image", "image_phash", "title"], []
    for posting_id, one in postings.items():
        # phash and title come from the file name, so that only the photograph shows the product
        rows.append(
            [posting_id, one.name, hash_words("phash", one.name)[:16], f"Fluke {one.hex_id}"]
        )
        if label_groups is not None:
            rows[-1].append(str(label_groups[one.individual]))
    write_list(
        root / f"{part}.csv", header if label_groups is None else [*header, "label_group"], rows
    )
    move_photographs(ordered, lambda one: root / f"{part}_images" / one.name)
    return postings
