"""Pages in a real browser: they open from disk, fetch nothing, and have keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kitbox.report import page
from kitbox.workspace import Workspace
from tests.report.sample_workspace import IMAGE, LABEL, RUN, kitbox, train_sample

NARROW = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("KITBOX_WORKSPACE", "")
        yield train_sample(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def results(scene: Workspace) -> Path:
    return write_report(scene, "plain", "large", *RUN)


@pytest.fixture(scope="module")
def data(scene: Workspace) -> Path:
    return write_report(scene, "--by", "plain")


def write_report(place: Workspace, *arguments: str) -> Path:
    return Path(json.loads(kitbox(place, "report", *arguments, "--json").stdout)["page"])


def opened(browser: Any, path: Path) -> Any:
    """Open a page from disk and wait until its cards are there."""
    browser.get(path.as_uri())
    waited(browser, "return document.body.dataset.ready === 'yes'")
    return browser


def waited(browser: Any, script: str, *given: Any) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(lambda b: b.execute_script(script, *given))


def keys(browser: Any, *typed: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*typed).perform()


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((n) => n.textContent)"
    return browser.execute_script(script, selector)


def choose(browser: Any, field: str, value: str) -> None:
    browser.execute_script(
        "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
        "f.dispatchEvent(new Event('input', { bubbles: true }))",
        field,
        value,
    )


def test_a_results_page_opens_from_disk_and_fetches_nothing(browser: Any, results: Path) -> None:
    opened(browser, results)
    fetched = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert [name for name in browser.execute_script(fetched) if name[:5] != "data:"] == []
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.title.endswith(" MAP@5")  # no name was executed as a script
    assert LABEL in texts(browser, "#individuals button.plain")


def test_pictures_are_loaded_as_they_come_into_view(browser: Any, results: Path) -> None:
    opened(browser, results)
    first = "const i = document.querySelector('.card .near img'); return i && i.naturalWidth"
    assert waited(browser, first) == 96  # not enlarged
    alts = browser.execute_script("return [...document.images].map((i) => i.alt)")
    assert all(alts)


def test_hits_have_a_sign_and_not_only_a_colour(browser: Any, results: Path) -> None:
    opened(browser, results)
    choose(browser, "order", "best")
    waited(browser, "return document.querySelector('.near .hit') !== null")
    sign = "return getComputedStyle(document.querySelector('.hit .picture'), '::after').content"
    assert "✓" in browser.execute_script(sign)
    assert all("✓" in text for text in texts(browser, ".near .hit small:first-of-type"))
    hit = browser.execute_script("return document.querySelector('.near .hit img').alt")
    assert hit.endswith("the same individual")


def test_the_worst_queries_come_first_and_the_best_on_request(browser: Any, results: Path) -> None:
    opened(browser, results)
    assert "✗" in texts(browser, ".card .badge")[0]
    choose(browser, "order", "best")
    assert "✓" in texts(browser, ".card .badge")[0]
    choose(browser, "outcome", "0")
    badges = texts(browser, "#cards .badge")
    assert badges
    assert all("✗" in badge for badge in badges)


def test_search_finds_an_individual_with_a_hostile_name(browser: Any, results: Path) -> None:
    opened(browser, results)
    every = texts(browser, ".count")[0]
    keys(browser, "/")
    keys(browser, "</script><SCRIPT>")
    assert set(texts(browser, "#cards h3")) == {LABEL}
    assert texts(browser, ".count")[0].endswith(f"of {every}")
    keys(browser, "zzz")
    assert texts(browser, "#cards .card") == []
    assert texts(browser, ".count")[0].startswith("0 of")


def test_keys_step_through_the_cards(browser: Any, results: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, results)
    here = "return document.activeElement.dataset.query ?? ''"
    ids = browser.execute_script(
        "return [...document.querySelectorAll('#cards .card')].map((c) => c.dataset.query)"
    )
    visited = []
    for key in ("j", "j", Keys.ARROW_DOWN, "k"):
        keys(browser, key)
        visited.append(browser.execute_script(here))
    assert visited == [ids[0], ids[1], ids[2], ids[1]]
    top = "return document.activeElement.getBoundingClientRect().top"
    assert 40 < browser.execute_script(top) < 120  # below the bar of sections
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) == "solid"


def test_keys_compare_neighbours_with_their_query(browser: Any, results: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, results)
    waited(browser, "return document.querySelector('.near .picture') !== null")
    browser.execute_script("document.querySelector('.near .picture').click()")
    captions = texts(browser, "#large figcaption")
    assert captions[0].startswith("query ")
    assert captions[1].startswith("1: ")
    keys(browser, Keys.ARROW_RIGHT)
    assert texts(browser, "#large figcaption")[1].startswith("2: ")
    keys(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert texts(browser, "#large figcaption")[1].startswith("20: ")
    keys(browser, Keys.ESCAPE)
    assert not browser.execute_script("return document.getElementById('large').open")


def test_help_and_theme_have_keys_and_the_theme_is_remembered(browser: Any, results: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, results)
    browser.execute_script("localStorage.clear()")
    opened(browser, results)
    keys(browser, "?")
    assert browser.execute_script("return document.getElementById('keys').open")
    keys(browser, Keys.ESCAPE)
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(background)
    keys(browser, "t")
    dark = browser.execute_script(background)
    assert light != dark
    opened(browser, results)
    assert browser.execute_script(background) == dark
    browser.execute_script("localStorage.clear()")


def test_the_table_of_individuals_sorts_and_links_to_queries(browser: Any, results: Path) -> None:
    opened(browser, results)
    head = "document.querySelectorAll('#individuals th button')[2].click();"
    column = (
        "return [...document.querySelectorAll('#individuals tbody tr')]"
        ".map((row) => Number(row.cells[2].textContent))"
    )
    falling = browser.execute_script(head + column)
    assert falling == sorted(falling, reverse=True)
    rising = browser.execute_script(head + column)
    assert rising == sorted(rising)
    name = texts(browser, "#individuals button.plain")[0]
    browser.execute_script("document.querySelector('#individuals button.plain').click()")
    waited(browser, "return document.getElementById('text').value !== ''")
    waited(browser, "return / of /.test(document.querySelector('.count').textContent)")
    assert name in texts(browser, "#cards h3")


def test_the_map_is_drawn_and_zooms(browser: Any, results: Path) -> None:
    opened(browser, results)
    browser.execute_script("document.getElementById('map-canvas').scrollIntoView()")
    painted = (
        "const c = document.getElementById('map-canvas'); if (!c.width) return 0;"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".reduce((n, v) => n + (v > 0), 0)"
    )
    assert waited(browser, painted) > 100
    browser.execute_script("document.getElementById('zoom-in').click()")


@pytest.mark.parametrize("page_of", ["results", "data"])
def test_pages_fit_the_width_of_a_phone(
    browser: Any, request: pytest.FixtureRequest, page_of: str
) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", NARROW)
    try:
        opened(browser, request.getfixturevalue(page_of))
        widths = "return [document.documentElement.scrollWidth, innerWidth]"
        wide, screen = browser.execute_script(widths)
        assert wide <= screen == 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_contact_sheets_show_boxes_and_filter_by_them(browser: Any, data: Path) -> None:
    opened(browser, data)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert texts(browser, ".count") == ["61 photographs in 12 groups"]
    assert LABEL in " ".join(texts(browser, "#cards h3"))
    choose(browser, "show", "boxed")
    assert texts(browser, ".count") == ["8 photographs in 8 groups"]
    corners = "return document.querySelector('#cards svg rect').outerHTML"
    assert 'x="9.98' in browser.execute_script(corners)
    choose(browser, "show", "")
    choose(browser, "text", "émoji 🐋")
    assert alts(browser) == [f"{IMAGE}, {LABEL}, 96 × 64"]


def alts(browser: Any) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#cards img')].map((i) => i.alt)"
    )


def test_a_split_page_loads_its_files(
    browser: Any, scene: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 110_000)
    opened(browser, write_report(scene, "large", *RUN))
    first = "const i = document.querySelector('.card .near img'); return i && i.naturalWidth"
    assert waited(browser, first) == 96
    assert [entry["message"] for entry in browser.get_log("browser")] == []


SECTIONS = "return [...document.querySelectorAll('nav .links a')].map((a) => a.hash.slice(1))"
TOP = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
AT_END = "return scrollY + innerHeight >= document.documentElement.scrollHeight - 2"


def lands(browser: Any, section: str) -> bool:
    """Return whether a section is at the top of the page, or the page at its end, and stays."""
    waited(
        browser,
        f"const t = (() => {{ {TOP} }})(arguments[0]); window.last ??= null;"
        "const still = window.last === t; window.last = t; return still",
        section,
    )
    top = float(browser.execute_script(TOP, section))
    return 0 < top < 120 or (top > 0 and bool(browser.execute_script(AT_END)))


@pytest.mark.parametrize("page_of", ["results", "data"])
def test_each_link_of_the_bar_lands_on_its_section(
    browser: Any, request: pytest.FixtureRequest, page_of: str
) -> None:
    path = request.getfixturevalue(page_of)
    opened(browser, path)
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    for section in browser.execute_script(SECTIONS):
        browser.execute_script(f"document.querySelector('nav a[href=\\'#{section}\\']').click()")
        assert lands(browser, section), section
    for section in browser.execute_script(SECTIONS):
        browser.get("about:blank")
        browser.get(f"{path.as_uri()}#{section}")  # a link from elsewhere
        waited(browser, "return document.body.dataset.ready === 'yes'")
        browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
        assert lands(browser, section), section


def test_queries_below_are_drawn_on_demand_and_move_nothing(browser: Any, results: Path) -> None:
    opened(browser, results)
    assert len(texts(browser, "#cards .card")) == 8
    where = "return document.getElementById('individuals').getBoundingClientRect().top + scrollY"
    before = browser.execute_script(where)
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    browser.execute_script("scrollTo(0, 0)")
    assert browser.execute_script(where) == pytest.approx(before, abs=1)
    browser.execute_script("document.querySelector('#queries > .more').click()")
    assert len(texts(browser, "#cards .card")) == 11


def test_a_card_shows_five_neighbours_and_the_others_on_demand(browser: Any, results: Path) -> None:
    opened(browser, results)
    waited(browser, "return document.querySelector('.near .picture') !== null")
    shown = "return document.querySelector('#cards .near').children.length"
    assert browser.execute_script(shown) == 5
    assert texts(browser, "#cards .card .more")[0] == "15 more neighbours"
    browser.execute_script("document.querySelector('#cards .card .more').click()")
    assert browser.execute_script(shown) == 20


def test_links_to_queries_show_those_of_one_individual(browser: Any, results: Path) -> None:
    opened(browser, results)
    names = texts(browser, "#individuals button.plain")
    for name in names:
        browser.execute_script(
            "[...document.querySelectorAll('#individuals button.plain')]"
            ".find((one) => one.textContent === arguments[0]).click()",
            name,
        )
        waited(
            browser, "return document.getElementById('text').value === arguments[0]", f'"{name}"'
        )
        waited(browser, "return / of /.test(document.querySelector('.count').textContent)")
        assert set(texts(browser, "#cards h3")) == {name}
    for link in texts(browser, "#pairs button.plain"):
        assert link.startswith("queries of ")


def test_metrics_have_names_in_words(browser: Any, results: Path) -> None:
    opened(browser, results)
    names = texts(browser, "#scores tbody td:first-child")
    assert names[:2] == ["MAP@5", "mAP@20"]
    shown = browser.execute_script("return document.body.innerText")
    for code in ("_at_", "r_precision", "accuracy"):
        assert code not in shown
