"""Pages: whole in one file, safe whatever names they hold, and split where they are large."""

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
from tests.report.pages import parsed

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
    """Pictures of a given length each, made of nothing."""

    def __init__(self, count: int, length: int) -> None:
        self.count, self.length = count, length

    @property
    def bytes(self) -> int:
        return self.count * (self.length + 3)

    def packs(self) -> Iterator[tuple[str, list[str]]]:
        for number, start in enumerate(range(0, self.count, PICTURES_PER_CHUNK)):
            yield (
                f"pictures-{number}",
                ["A" * self.length] * min(PICTURES_PER_CHUNK, self.count - start),
            )


def test_names_stay_names_whatever_they_hold(tmp_path: Path) -> None:
    values = VALUES | {
        "heading": HOSTILE,
        "kinds": [(HOSTILE, 1, "", "")],
        "about": [HOSTILE],
    }
    path = tmp_path / "p.html"
    page.write(Page("findings.html", values, {"findings": [[HOSTILE]]}), path)
    found = parsed(path)
    assert found.pack("findings") == [[HOSTILE]]
    assert found.text.count(HOSTILE) == 4  # heading, about, table, choice
    assert not found.of("b")
    assert len(found.of("script")) == 2  # the pack and the page's own


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5))
def test_json_in_a_script_reads_as_it_was_and_ends_no_script(value: object) -> None:
    text = page.json_text(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_a_name_that_is_no_text_at_all_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    data = {"findings": [["caf\udce9.jpg"]]}
    page.write(Page("findings.html", VALUES | {"heading": "caf\udce9"}, data), path)
    assert parsed(path).pack("findings") == [["caf?.jpg"]]


def test_scripts_run_by_a_nonce_and_nothing_may_be_fetched(tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    page.write(Page("findings.html", VALUES, {"findings": []}, scripts=("findings.js",)), path)
    found = parsed(path)
    [policy] = [meta["content"] for meta in found.of("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    [nonce] = re.findall(r"script-src 'nonce-(\w+)'$", policy)
    runs = [script for script in found.of("script") if script.get("type") != "application/json"]
    assert len(runs) == 2
    assert all(script["nonce"] == nonce for script in runs)


def test_a_page_of_few_pictures_is_one_file(tmp_path: Path) -> None:
    made = page.write(Page("findings.html", VALUES, {}, FakePictures(100, 50)), tmp_path / "p.html")
    assert (made.beside, made.bytes) == (0, made.path.stat().st_size)
    found = parsed(made.path)
    assert [len(found.pack(f"pictures-{n}")) for n in (0, 1)] == [64, 36]
    assert "Everything on this page is in this one file" in found.text
    assert list(tmp_path.iterdir()) == [made.path]


def test_many_pictures_go_to_a_folder_beside_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 100_000)
    path = tmp_path / "p q.html"
    content = Page("findings.html", VALUES, {"findings": ["x" * 40_000]}, FakePictures(200, 900))
    made = page.write(content, path)
    assert made.bytes < 100_000
    names = sorted(file.name for file in (tmp_path / "p q_files").iterdir())
    assert names == ["findings.js", *(f"pictures-{n}.js" for n in range(4))]
    assert made.beside == 5
    call = (tmp_path / "p q_files" / "pictures-3.js").read_text()
    assert (
        json.loads(call.removeprefix('kitbox.take("pictures-3",').removesuffix(");\n"))
        == ["A" * 900] * 8
    )
    assert "the folder p q_files beside it" in parsed(path).text


def test_an_earlier_folder_of_the_same_page_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.html"
    monkeypatch.setattr(page, "MAX_BYTES", 100_000)
    page.write(Page("findings.html", VALUES, {}, FakePictures(200, 900)), path)
    page.write(Page("findings.html", VALUES, {}, FakePictures(130, 900)), path)
    assert len(list((tmp_path / "p_files").iterdir())) == 3
    page.write(Page("findings.html", VALUES, {}, FakePictures(3, 900)), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("count", "side"), [(10, 256), (2500, 192), (9000, 112), (30_000, 144)])
def test_pictures_are_as_large_as_the_page_allows(count: int, side: int) -> None:
    assert page.picture_side(count) == side


def test_the_length_of_packs_is_known_before_they_are_made(tmp_path: Path) -> None:
    lengths = np.array([0, 1, 2, 3, 50])
    nothing = np.zeros((5, 4), dtype=np.float32)
    thumbnails = Thumbnails(
        tmp_path / "t.sqlite", np.array(list("abcde")), tuple("abcde"), lengths, nothing, lengths
    )
    assert PagePictures((thumbnails,)).bytes == sum(4 * -(-n // 3) + 3 for n in lengths.tolist())
