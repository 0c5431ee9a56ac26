"""Files of embeddings by other programs: what is read, and what is refused and why."""

import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.embedding import vector_files, vector_rows
from kitbox.errors import KitboxError

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
ROWS = np.array([[1, 2.5], [-3, 4], [0.125, 6]], dtype=np.float32)


def rows_of(path: Path, ids: str | None = None, vectors: str | None = None) -> Any:
    """Return the names and rows of a file, and what it says of itself."""
    file = vector_files.read(path, ids, vectors)
    blocks = list(file.blocks)
    assert {block.shape[1] for _, block in blocks} == {file.dim}
    names = [name for given, _ in blocks for name in given]
    return names, np.concatenate([block for _, block in blocks]), file.notes


def check(path: Path, ids: str | None = None, vectors: str | None = None) -> tuple[str, ...]:
    names, rows, notes = rows_of(path, ids, vectors)
    assert names == NAMES
    np.testing.assert_array_equal(rows, ROWS)
    return notes


def error(path: Path, ids: str | None = None, vectors: str | None = None) -> str:
    with pytest.raises(KitboxError) as caught:
        rows_of(path, ids, vectors)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_real_type_and_order(tmp_path: Path, dtype: str, order: Any) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.asarray(ROWS.astype(dtype), order=order))
    (tmp_path / "x.txt").write_text("\n".join(NAMES))
    assert check(path) == ("x.npy: names of rows are those of x.txt",)


@pytest.mark.parametrize("shape", [(3, 1, 2), (3, 2, 1, 1)])
def test_sides_of_one_number_do_not_count(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "x.npz", ids=NAMES, features=ROWS.reshape(shape))
    check(tmp_path / "x.npz")


def lists() -> dict[str, Callable[[Path], Any]]:
    return {
        "l.txt": lambda path: path.write_text("a.jpg\r\nb.jpg\r\nc.jpg\r\n\r\n"),
        "head.txt": lambda path: path.write_text("filename\na.jpg\nb.jpg\nc.jpg\n"),
        "l.csv": lambda path: path.write_text("a.jpg\nb.jpg\nc.jpg\n"),
        "head.csv": lambda path: path.write_text("whatever\na.jpg\nb.jpg\nc.jpg\n"),
        "many.csv": lambda path: path.write_text(
            "label;Image\nx;a.jpg\ny;b.jpg\nz;c.jpg\n", encoding="utf-8-sig"
        ),
        "l.json": lambda path: path.write_text(json.dumps(NAMES)),
        "rows.json": lambda path: path.write_text('{"b.jpg": 1, "a.jpg": 0, "c.jpg": 2}'),
        "key.json": lambda path: path.write_text(json.dumps({"ids": NAMES, "seed": 3})),
        "l.npy": lambda path: np.save(path, np.array(NAMES)),
        "bytes.npy": lambda path: np.save(path, np.array(NAMES, dtype="S").reshape(3, 1)),
    }


@pytest.mark.parametrize("name", lists())
def test_lists_of_names(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    lists()[name](tmp_path / name)
    assert check(tmp_path / "x.npy", str(tmp_path / name)) == ()


@pytest.mark.parametrize(
    ("vectors", "listed"),
    [
        ("f.npy", "f_ids.json"),
        ("train_features.npy", "train_ids.txt"),
        ("embeddings.npy", "filenames.csv"),
        ("x.npy", "image_ids.npy"),
    ],
)
def test_the_list_beside_a_file_is_found(tmp_path: Path, vectors: str, listed: str) -> None:
    np.save(tmp_path / vectors, ROWS)
    (tmp_path / "notes.txt").write_text("of a run")
    if listed.endswith("npy"):
        np.save(tmp_path / listed, NAMES)
    elif listed.endswith("json"):
        (tmp_path / listed).write_text(json.dumps(NAMES))
    else:
        (tmp_path / listed).write_text("\n".join(NAMES))
    check(tmp_path / vectors)


def test_two_lists_beside_a_file_are_asked_about(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    assert error(tmp_path / "x.npy") == (
        "x.npy has no names of images, and there is no x_ids.txt beside it; name the list of image "
        "names, one for each row, with --ids FILE"
    )
    for name in ("x_ids.txt", "x_names.txt"):
        (tmp_path / name).write_text("\n".join(NAMES))
    assert error(tmp_path / "x.npy") == (
        "x.npy may have its names in x_ids.txt or in x_names.txt; name the list with "
        "--ids x_ids.txt"
    )


@pytest.mark.parametrize(
    "keys", [("ids", "embeddings"), ("Image_IDs", "X"), ("paths", "arr_0"), ("who", "what")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_usual_arrays_are_recognised(tmp_path: Path, keys: tuple[str, str], save: Any) -> None:
    save(tmp_path / "x.npz", **{keys[0]: NAMES, keys[1]: ROWS, "labels": np.array([1, 2, 3])})
    notes = check(tmp_path / "x.npz")
    assert notes == (
        f"x.npz: vectors are '{keys[1]}', names of rows '{keys[0]}'",
        "x.npz: not read: labels",
    )


def test_what_is_ambiguous_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, ids=NAMES, features=ROWS, embeddings=ROWS)
    assert error(path) == (
        "x.npz has several arrays of vectors: features (3×2), embeddings (3×2); "
        "name one with --vectors features, and its names with --ids"
    )
    check(path, None, "embeddings")
    np.savez(path, paths=NAMES[::-1], names=NAMES, x=ROWS)
    assert "several arrays that may hold names of images: paths, names; name one" in error(path)
    check(path, "names")
    assert error(path, "nmes") == (
        "--ids nmes is neither a file nor an array of x.npz, which has paths (3), names (3), "
        "x (3×2); did you mean names?"
    )
    np.savez(path, ids=[3, 4, 5], names=NAMES, x=ROWS)  # numbers beside names
    check(path)
    np.savez(path, x=ROWS)
    assert "no array of image names; save one: np.savez" in error(path)
    np.savez(path, ids=NAMES)
    assert "no array with a row of numbers for each image" in error(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    pickled = "holds pickled objects, which may run code and are not opened"
    np.savez(path, ids=np.array(NAMES, dtype=object), x=ROWS)
    assert pickled in error(path)
    np.savez(path, ids=NAMES, embeddings=ROWS.astype(object))
    assert pickled in error(path)
    (tmp_path / "ids.txt").write_text("\n".join(NAMES))
    np.save(tmp_path / "y.npy", ROWS.astype(object))
    assert pickled in error(tmp_path / "y.npy")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(ROWS))
    assert "x.pkl is a pickle, which may run code" in error(tmp_path / "x.pkl")
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", "")
    assert "x.pt is a file of torch" in error(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "x.npz is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not the file"),
        (b"\n<!DOCTYPE html>", "a web page; download the file itself"),
        (gzip.compress(b"a", mtime=0), "compressed with gzip; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b'{"a": [1, 2]}', "JSON"),
        (b"PK\x03\x04 cut off", "damaged or cut off; copy it again"),
        (b"abc\0\0", "no file of vectors that kitbox reads"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.npz").write_bytes(data)
    assert said in error(tmp_path / "x.npz")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, ROWS)
    (tmp_path / "x.txt").write_text("\n".join(NAMES))
    path.write_bytes(path.read_bytes()[:-3])
    assert error(path) == "x.npy is damaged or cut off; copy it again, or save it again"
    assert error(tmp_path / "none.npy") == "there is no file none.npy"
    assert "is a folder" in error(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "image,f0,f1\na.jpg,1,2.5\nb.jpg,-3,4\nc.jpg,.125,6\n",
        "\ufefffilename;label;f_0;f_1\na.jpg;1;1;2,5\nb.jpg;2;-3;4\nc.jpg;3;0,125;6\n",
        "image\tfold\tembedding_0\tembedding_1\na.jpg\t0\t1\t2.5\nb.jpg\t1\t-3\t4\n"
        "c.jpg\t2\t1.25e-1\t6\n",
        ",0,1\na.jpg,1,2.5\nb.jpg,-3,4\nc.jpg,.125,6\n",
        "a.jpg,1,2.5\nb.jpg,-3,4\nc.jpg,.125,6\n",
        'path,embedding\na.jpg,"[1, 2.5]"\nb.jpg,"[-3, 4]"\nc.jpg,"[0.125, 6]"\n',
        "path,embedding\na.jpg,[1.   2.5]\nb.jpg,[-3.\n 4.]\nc.jpg,[0.125 6.]\n".replace(
            "[-3.\n 4.]", '"[-3.\n 4.]"'
        ),
        "name,red,green\na.jpg,1,2.5\nb.jpg,-3,4\n\nc.jpg,.125,6\n",
    ],
)
def test_tables_of_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    check(tmp_path / "x.csv")


def test_what_a_table_has_beside_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "image,label,f0,f1\na.jpg,7,1,2.5\nb.jpg,7,-3,4\nc.jpg,8,.125,6"
    )
    assert check(tmp_path / "x.csv") == (
        "x.csv: vectors are 'f0' to 'f1', names of rows 'image'",
        "x.csv: not read: label",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,f0,f1\na.jpg,1,2\nb.jpg,1,\n", "x.csv line 3: a cell of the vector is empty"),
        ("image,f0,f1\na.jpg,1,2\nb.jpg,1,much\n", "x.csv line 3: 'much' is no number"),
        ("image,f0,f1\na.jpg,1,2\nb.jpg,1\n", "x.csv line 3: 2 cells, where the first row has"),
        ('image,v\na.jpg,"[1, 2]"\nb.jpg,"[1]"\n', "line 3: 1 number, where the first row has 2"),
        (
            "image,v\na.jpg,[1 ... 2]\n",
            "line 2: the vector was shortened when it was printed",
        ),
        ("image,f0,f0\na.jpg,1,2\n", "the column 'f0' is there 2 times"),
        ("image,a0,a1,b0,b1\na.jpg,1,2,3,4\n", "several vectors: columns a0, … and b0, …"),
        ("image,label\na.jpg,x\n", "several columns may hold names|no column of numbers"),
        ("image,f0,f1\n", "x.csv has a header and no row"),
    ],
)
def test_a_faulty_table_is_refused_by_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    told = error(tmp_path / "x.csv")
    assert any(each in told for each in said.split("|")), told


def test_parquet_with_lists_or_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    flat = pa.array(ROWS.reshape(-1).astype(np.float16))
    for column in (
        pa.array(ROWS.tolist()),
        pa.FixedSizeListArray.from_arrays(flat, 2),
        pa.array(ROWS.tolist(), pa.large_list(pa.float32())),
    ):
        parquet.write_table(pa.table({"image": NAMES, "label": [1, 2, 3], "v": column}), path)
        assert check(path)[1] == "x.parquet: not read: label"
    names = pa.array(NAMES).dictionary_encode()
    wide = {"f0": ROWS[:, 0], "split": ["x"] * 3, "fold": [0, 1, 2], "f1": ROWS[:, 1], "id": names}
    parquet.write_table(pa.table(wide), path)
    check(path)
    parquet.write_table(pa.table({"id": NAMES, "v": [[1.0, 2], [3.0], [4.0, 5]]}), path)
    assert error(path) == (
        "x.parquet row 1 + 1: 1 number, where the first row has 2; "
        "remove the row, or embed that image again"
    )
    parquet.write_table(pa.table({"id": NAMES, "v": ROWS.tolist(), "w": ROWS.tolist()}), path)
    assert "several columns of vectors: v, w; name one with --vectors v" in error(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert "x.parquet is damaged or cut off" in error(path)


def test_parquet_without_pyarrow_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert error(tmp_path / "x.parquet") == (
        "x.parquet is Parquet, which needs pyarrow; pip install 'kitbox[parquet]', or use .npz"
    )


def test_a_list_of_several_columns_must_say_which(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("a,b\n1,2\n")
    with pytest.raises(KitboxError, match="none is clearly that of image names; name that column"):
        vector_rows.read_names(tmp_path / "l.csv")


def header(text: str, numbers: bytes = bytes(24)) -> bytes:
    """Return a .npy with a header of one's own."""
    head = f"{text:<117}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + numbers


DAMAGED_ARRAYS = {
    "open bracket": "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2",
    "unknown type": "{'descr': '<q9', 'fortran_order': False, 'shape': (3, 2)}",
    "more numbers than bytes": "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 10**11)}",
    "petabytes": "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 99999999999999)}",
}


@pytest.mark.parametrize("text", DAMAGED_ARRAYS.values(), ids=DAMAGED_ARRAYS)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_damaged_header_is_one_sentence_and_takes_no_memory(
    tmp_path: Path, text: str, kind: str
) -> None:
    if kind == "npy":
        (tmp_path / "x.npy").write_bytes(header(text))
    else:
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("x.npy", header(text))
    (tmp_path / "x.txt").write_text("\n".join(NAMES))
    assert (
        error(tmp_path / f"x.{kind}")
        == f"x.{kind} is damaged or cut off; copy it again, or save it again"
    )


def test_a_header_of_python_2_is_read_without_a_warning(tmp_path: Path) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 2L)}"
    (tmp_path / "x.npy").write_bytes(header(text, ROWS.tobytes()))
    (tmp_path / "x.txt").write_text("\n".join(NAMES))
    check(tmp_path / "x.npy")


def test_names_that_are_no_characters_are_damage(tmp_path: Path) -> None:
    names = np.array([[0xFFFFFFFF]] * 3, dtype=np.uint32).view("<U1").reshape(-1)
    np.savez(tmp_path / "x.npz", ids=names, features=ROWS)
    assert "x.npz is damaged" in error(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_byte_changed_anywhere_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "npz":
        np.savez_compressed(path, ids=NAMES, features=ROWS)
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"image": NAMES, "vector": ROWS.tolist()}), path)
    good, refused = path.read_bytes(), 0
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x14]) + good[place + 1 :])
        try:
            rows_of(path)
        except KitboxError:
            refused += 1
    assert refused > 20
