"""In a real browser: haste, second thoughts, other windows and faulty lists do no harm."""

from pathlib import Path

import pytest

from kitbox.competition import decisions
from tests.look.walking import ENTER, Walk


@pytest.mark.parametrize("pause", [0, 0.25])
def test_a_double_tap_decides_one(walk: Walk, pause: float) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    walk.wait(walk.shown)
    ActionChains(walk.driver).send_keys("d").pause(pause).send_keys("d").perform()
    walk.wait(lambda: walk.shown() == "#/suspects/2")
    assert walk.rows() == [("drop", "3_1.png", "")]
    walk.press("u")
    walk.decided()
    walk.wait(lambda: walk.shown() == "#/suspects/1")
    [button] = walk.all(".bar [data-key=m]")
    ActionChains(walk.driver).double_click(button).perform()
    walk.wait(lambda: walk.shown() == "#/suspects/2")
    assert walk.rows() == [("merge", "w_4", "w_3")]
    walk.press("d")
    walk.wait(lambda: len(walk.rows()) == 2)


def test_undo_goes_where_it_was_decided(walk: Walk) -> None:
    walk.press("m")
    walk.wait(lambda: walk.shown() == "#/suspects/2")
    walk.go("#/images", ".tile")
    walk.press("u")
    walk.wait(lambda: walk.shown() == "#/suspects/1")
    assert "Taken back: w_4 is w_3" in walk.text("#said")
    walk.wait(lambda: "w_4" in walk.text(".cards .chip"))
    walk.go("#/image/2_1.png", ".photograph .card")
    walk.press("t")
    walk.driver.refresh()  # it knows no more where, but what
    walk.go("#/duplicates", ".card")
    walk.press("u")
    walk.wait(lambda: walk.shown() == "#/image/2_1.png")
    assert walk.rows() == []


def test_what_holds_or_was_gone_already_is_told_as_that(walk: Walk) -> None:
    walk.go("#/image/2_1.png", ".photograph .card")
    walk.press("d", "d")
    walk.wait(lambda: walk.text("#said") == "Held already: dropped 2_1.png")
    walk.decided(("drop", "2_1.png", ""))
    walk.table.desk.path.unlink()
    walk.press("u")
    walk.wait(lambda: walk.text("#said") == "The last decision was gone already.")


def test_a_merge_of_another_window_is_not_lost(walk: Walk) -> None:
    walk.go("#/suspects/1", ".card")
    walk.table.desk.decide([decisions.Decision("merge", "w_4", "w_0")])
    walk.press("m")
    walk.wait(lambda: "'w_4' is called 'w_0' now; reload the page" in walk.text("#said.wrong"))
    walk.driver.refresh()
    walk.press("m")
    walk.decided(("merge", "w_4", "w_0"), ("merge", "w_3", "w_0"))


def test_a_name_that_was_merged_away_is_not_called_new(walk: Walk) -> None:
    walk.table.desk.decide([decisions.Decision("merge", "w_1", "w_0")])
    walk.go("#/image/2_1.png", ".photograph .card")
    walk.press("l")
    walk.wait(lambda: walk.all("dialog[open] #label"))
    walk.press(*"w_1")
    walk.wait(lambda: "w_1 is w_0 since a merge" in walk.text("dialog .hint"))
    walk.press(ENTER)
    walk.wait(lambda: "'w_1' is 'w_0' since a merge; give the image" in walk.text("#said.wrong"))
    assert len(walk.rows()) == 1


def test_enter_that_ends_a_composed_word_sets_no_label(walk: Walk) -> None:
    walk.go("#/image/2_1.png", ".photograph .card")
    walk.press("l")
    walk.wait(lambda: walk.all("dialog[open] #label"))
    walk.press(*"w_new")
    composing = "{key: 'Enter', isComposing: true, bubbles: true, cancelable: true}"
    walk.driver.execute_script(
        f"document.querySelector('#label').dispatchEvent(new KeyboardEvent('keydown', {composing}))"
    )
    assert walk.all("dialog[open] #label")
    walk.press(ENTER)
    walk.decided(("label", "2_1.png", "w_new"))


def test_after_a_failed_step_the_page_is_what_it_was(walk: Walk) -> None:
    walk.go("#/image/2_1.png", ".photograph .card")
    walk.driver.execute_script("location.hash = '#/image/nobody-knows.png'")
    walk.wait(lambda: "there is no such image in the lists" in walk.text("#said.wrong"))
    walk.wait(lambda: walk.driver.current_url.endswith("/#/image/2_1.png"))
    walk.press("d")
    walk.decided(("drop", "2_1.png", ""))
    walk.wait(lambda: "dropped" in walk.text(".photograph .marks"))


def test_a_page_that_began_with_a_faulty_list_comes_to_life_when_it_is_mended(walk: Walk) -> None:
    walk.wait(walk.shown)
    walk.table.desk.path.write_text("decision,subject,value,note\ndrob,x,,\n")
    walk.driver.refresh()
    walk.wait(lambda: "line 2: 'drob' is no decision" in walk.text("#view .empty"))
    walk.table.desk.path.unlink()
    walk.all("nav a[data-view=images]")[0].click()
    walk.wait(lambda: walk.all(".tile"))
    walk.press("n")
    assert walk.text("nav a[aria-current]").startswith("Images")


def test_the_page_is_opened_through_a_file_and_can_be_reloaded(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import webbrowser

    from kitbox.look import server

    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    walk.driver.delete_all_cookies()
    with server.browser(walk.address, tmp_path):
        [uri] = walk.wait(lambda: opened)
        walk.driver.get(uri)
        walk.wait(lambda: walk.all(".cards .card"), "the first case")
    walk.driver.refresh()
    walk.wait(lambda: walk.all(".cards .card"), "the first case again")
    assert walk.driver.current_url.startswith("http://127.0.0.1:")
