"""Pages: one file, safe with hostile names, and split if they are large."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.images.thumbnails import Thumbnails
from kitbox.report import page
from kitbox.report.page import PICTURES_PER_CHUNK, Page, PagePictures
from tests.report.parsed_page import parse

VALUES = {
    "title": "t",
    "kind": "k",
    "heading": "h",
    "about": [],
    "sections": [("kinds", "Kinds")],
    "kinds": [],
    "actions": [],
}
HOSTILE = '<b>émoji 🐋, ".jpg</script><script>alert(1)</script><!-- \u2028'


class FakePictures:
    """Fake pictures of a given length."""

    def __init__(self, count: int, length: int) -> None:
        self.count, self.length = count, length

    @property
    def json_bytes(self) -> int:
        return self.count * (self.length + 3)

    def chunks(self) -> Iterator[tuple[str, list[str]]]:
        for number, start in enumerate(range(0, self.count, PICTURES_PER_CHUNK)):
            yield (
                f"pictures-{number}",
                ["A" * self.length] * min(PICTURES_PER_CHUNK, self.count - start),
            )


def test_names_with_markup_stay_text(tmp_path: Path) -> None:
    values = VALUES | {
        "heading": HOSTILE,
        "kinds": [(HOSTILE, 1, "", "")],
        "about": [HOSTILE],
    }
    path = tmp_path / "p.html"
    page.write(Page(template="check.html", values=values, data={"findings": [[HOSTILE]]}), path)
    parsed = parse(path)
    assert parsed.chunk("findings") == [[HOSTILE]]
    assert parsed.text.count(HOSTILE) == 4  # heading, about, table, choice
    assert not parsed.of("b")
    assert len(parsed.of("script")) == 2  # the chunk and the page's own


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5))
def test_json_in_a_script_is_unchanged_and_cannot_end_it(value: object) -> None:
    text = page.json_text(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_a_name_that_is_not_valid_text_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    data = {"findings": [["caf\udce9.jpg"]]}
    page.write(
        Page(template="check.html", values=VALUES | {"heading": "caf\udce9"}, data=data), path
    )
    assert parse(path).chunk("findings") == [["caf?.jpg"]]


def test_scripts_need_a_nonce_and_nothing_can_be_fetched(tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    page.write(
        Page(template="check.html", values=VALUES, data={"findings": []}, scripts=("check.js",)),
        path,
    )
    parsed = parse(path)
    [policy] = [meta["content"] for meta in parsed.of("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    [nonce] = re.findall(r"script-src 'nonce-(\w+)'$", policy)
    runs = [script for script in parsed.of("script") if script.get("type") != "application/json"]
    assert len(runs) == 2
    assert all(script["nonce"] == nonce for script in runs)


def test_a_small_page_is_one_file(tmp_path: Path) -> None:
    written = page.write(
        Page(template="check.html", values=VALUES, pictures=FakePictures(100, 50)),
        tmp_path / "p.html",
    )
    assert (written.files_beside, written.bytes) == (0, written.path.stat().st_size)
    parsed = parse(written.path)
    assert [len(parsed.chunk(f"pictures-{n}")) for n in (0, 1)] == [64, 36]
    assert "Everything on this page is in this one file" in parsed.text
    assert list(tmp_path.iterdir()) == [written.path]


def test_a_large_page_has_a_folder_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 100_000)
    path = tmp_path / "p q.html"
    content = Page(
        template="check.html",
        values=VALUES,
        data={"findings": ["x" * 40_000]},
        pictures=FakePictures(200, 900),
    )
    written = page.write(content, path)
    assert written.bytes < 100_000
    names = sorted(file.name for file in (tmp_path / "p q_files").iterdir())
    assert names == ["findings.js", *(f"pictures-{n}.js" for n in range(4))]
    assert written.files_beside == 5
    call = (tmp_path / "p q_files" / "pictures-3.js").read_text()
    assert (
        json.loads(call.removeprefix('kitbox.receive("pictures-3",').removesuffix(");\n"))
        == ["A" * 900] * 8
    )
    assert "the folder p q_files beside it" in parse(path).text


def test_an_earlier_folder_of_the_same_page_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.html"
    monkeypatch.setattr(page, "MAX_BYTES", 100_000)
    page.write(Page(template="check.html", values=VALUES, pictures=FakePictures(200, 900)), path)
    page.write(Page(template="check.html", values=VALUES, pictures=FakePictures(130, 900)), path)
    assert len(list((tmp_path / "p_files").iterdir())) == 3
    page.write(Page(template="check.html", values=VALUES, pictures=FakePictures(3, 900)), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("count", "side"), [(10, 256), (2500, 192), (9000, 112), (30_000, 144)])
def test_pictures_are_as_large_as_the_page_allows(count: int, side: int) -> None:
    assert page.picture_side(count) == side


def test_the_length_of_chunks_is_known_before_they_are_encoded(tmp_path: Path) -> None:
    lengths = np.array([0, 1, 2, 3, 50])
    nothing = np.zeros((5, 4), dtype=np.float32)
    thumbnails = Thumbnails(
        path=tmp_path / "t.sqlite",
        image_ids=np.array(list("abcde")),
        keys=tuple("abcde"),
        sizes=lengths,
        regions=nothing,
        lengths=lengths,
    )
    assert PagePictures((thumbnails,)).json_bytes == sum(
        4 * -(-n // 3) + 3 for n in lengths.tolist()
    )
