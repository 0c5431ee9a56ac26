"""The page of answers, written for drawn photographs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kitbox.identification.catalogue_audit import ENOUGH_PAIRS, audit
from kitbox.identification.catalogue_search import IdentifyOptions
from kitbox.identification.catalogue_workspace import open_catalogue
from kitbox.identification.photograph_answers import Identification, identify
from kitbox.report import identified_page
from tests.identification.photographed_catalogue import (
    broken,
    draw_card,
    draw_catalogue,
    with_eyes,
)
from tests.identification.test_catalogue_audit import audited, large
from tests.identification.test_photograph_answers import OPTIONS
from tests.photographs import finish


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Identification:
    root = tmp_path_factory.mktemp("page")
    whales, card = draw_catalogue(root), draw_card(root)
    broken(card / "broken.jpg")
    with_eyes(root / "work")
    return identified(whales, card, root / "work", OPTIONS)


def identified(whales: Path, card: Path, work: Path, options: IdentifyOptions) -> Identification:
    return finish(identify(open_catalogue(whales, [card], work), options))[1]


def text_of(found: Identification, path: Path) -> str:
    _, written = finish(identified_page.write(found, path))
    assert written.path == path
    return path.read_text(encoding="utf-8")


def test_every_photograph_has_a_card_with_its_likeliest_individuals(
    found: Identification, tmp_path: Path
) -> None:
    text = text_of(found, tmp_path / "identified.html")
    assert text.count('<li class="card"') == 6
    for answer in found.answers:
        assert f"<h3>{answer.verdict}</h3>\n<p>{answer.image}</p>" in text
        best = answer.candidates[0]
        assert f'alt="{best.individual}, {best.photographs[0]}"' in text
        assert f"<b>{best.individual}</b> {best.probability:.2f}<br>" in text
    assert "card/broken.jpg: " in text
    assert "Network: eyes." in text
    # the query, two photographs of the first individual and one of each other one
    cards = re.findall(r'<li class="card".*?</ul>', text, re.DOTALL)
    assert {card.count("<img ") for card in cards} == {5}


def test_the_undecided_come_first_and_those_with_an_even_chance_before_others(
    found: Identification, tmp_path: Path
) -> None:
    doubtful = replace(
        found, answers=tuple(replace(one, verdict="undecided") for one in found.answers)
    )
    text = text_of(doubtful, tmp_path / "identified.html")
    order = re.findall(r"<h3>undecided</h3>\n<p>(.*?)</p>", text)
    odds = {one.image: abs((one.candidates[0].probability or 0) - 0.5) for one in found.answers}
    assert len(order) == 6
    assert [odds[image] for image in order] == sorted(odds.values())


def test_names_with_markup_stay_text(found: Identification, tmp_path: Path) -> None:
    first = replace(found.answers[0], verdict="<script>alert(1)</script>")
    text = text_of(replace(found, answers=(first,)), tmp_path / "identified.html")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_without_probabilities_similarities_are_shown(tmp_path: Path) -> None:
    whales, card = draw_catalogue(tmp_path, each=1), draw_card(tmp_path)
    with_eyes(tmp_path / "work")
    plain = identified(whales, card, tmp_path / "work", OPTIONS)
    text = text_of(plain, tmp_path / "identified.html")
    assert "Not calibrated, so that answers have a similarity and no verdict" in text
    assert "<b>w_0</b> similarity " in text
    assert "A new individual: " not in text


def test_the_page_of_an_audit_has_a_curve_and_the_numbers_of_it(tmp_path: Path) -> None:
    path = tmp_path / identified_page.AUDIT
    identified_page.write_audit(audited(), "eyes <new>", ["one encounter a day"], path)
    text = path.read_text(encoding="utf-8")
    assert text.count('<svg role="img"') == 1
    assert f"{ENOUGH_PAIRS} answers or more" in text
    for part in (*audited().reliability, *audited().new_reliability):
        assert f"<td>{part.stated:.3f}</td><td>{part.right:.3f}</td>" in text
    assert f"<h1>The first individual is right in {audited().recall[1].value:.1%}</h1>" in text
    assert "Network: eyes &lt;new&gt;." in text
    assert "One encounter a day." in text


def test_the_page_of_an_audit_without_probabilities_has_no_curve(tmp_path: Path) -> None:
    path = tmp_path / identified_page.AUDIT
    given = replace(large(), model=None, cross=None, too_small="it is too small")
    identified_page.write_audit(audit(given, 0.8), "eyes", [], path)
    text = path.read_text(encoding="utf-8")
    assert "Not calibrated: it is too small." in text
    assert "<svg" not in text
