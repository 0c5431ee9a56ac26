"""The page in a real browser: double taps, undo, other windows and faulty files do no harm."""

from pathlib import Path

import pytest

from kitbox.decisions.decision import Decision
from tests.look.browser_user import ENTER, BrowserUser


@pytest.mark.parametrize("pause", [0, 0.25])
def test_a_double_tap_decides_only_one_item(user: BrowserUser, pause: float) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    user.wait(user.current_address)
    ActionChains(user.driver).send_keys("d").pause(pause).send_keys("d").perform()
    user.wait(lambda: user.current_address() == "#/suspects/2")
    assert user.rows() == [("drop", "3_1.png", "")]
    user.press("u")
    user.expect_decisions()
    user.wait(lambda: user.current_address() == "#/suspects/1")
    [button] = user.find_all(".bar [data-key=m]")
    ActionChains(user.driver).double_click(button).perform()
    user.wait(lambda: user.current_address() == "#/suspects/2")
    assert user.rows() == [("merge", "w_4", "w_3")]
    user.press("d")
    user.wait(lambda: len(user.rows()) == 2)


def test_undo_returns_to_where_the_decision_was_made(user: BrowserUser) -> None:
    user.press("m")
    user.wait(lambda: user.current_address() == "#/suspects/2")
    user.open("#/images", ".tile")
    user.press("u")
    user.wait(lambda: user.current_address() == "#/suspects/1")
    assert "Taken back: w_4 is w_3" in user.text("#message")
    user.wait(lambda: "w_4" in user.text(".cards .chip"))
    user.open("#/image/2_1.png", ".photograph .card")
    user.press("t")
    user.driver.refresh()  # the page forgets where, but the decision names its image
    user.open("#/duplicates", ".card")
    user.press("u")
    user.wait(lambda: user.current_address() == "#/image/2_1.png")
    assert user.rows() == []


def test_decisions_made_or_removed_before_are_reported_as_such(user: BrowserUser) -> None:
    user.open("#/image/2_1.png", ".photograph .card")
    user.press("d", "d")
    user.wait(lambda: user.text("#message.error") == "decided already")
    user.expect_decisions(("drop", "2_1.png", ""))
    user.review.session.path.unlink()
    user.press("u")
    user.wait(lambda: user.text("#message") == "The last decision had already been removed.")


def test_a_merge_made_in_another_window_is_not_lost(user: BrowserUser) -> None:
    user.open("#/suspects/1", ".card")
    user.review.session.decide([Decision("merge", "w_4", "w_0")])
    user.press("m")
    user.wait(lambda: "'w_4' was merged into 'w_0'; reload the page" in user.text("#message.error"))
    user.driver.refresh()
    user.press("m")
    user.expect_decisions(("merge", "w_4", "w_0"), ("merge", "w_3", "w_0"))


def test_a_label_that_was_merged_away_is_not_called_new(user: BrowserUser) -> None:
    user.review.session.decide([Decision("merge", "w_1", "w_0")])
    user.open("#/image/2_1.png", ".photograph .card")
    user.press("l")
    user.wait(lambda: user.find_all("dialog[open] #label"))
    user.press(*"w_1")
    user.wait(lambda: "w_1 was merged into w_0" in user.text("dialog .hint"))
    user.press(ENTER)
    user.wait(lambda: "'w_1' was merged into 'w_0'; give the image" in user.text("#message.error"))
    assert len(user.rows()) == 1


def test_enter_that_ends_a_composed_word_does_not_set_the_label(user: BrowserUser) -> None:
    user.open("#/image/2_1.png", ".photograph .card")
    user.press("l")
    user.wait(lambda: user.find_all("dialog[open] #label"))
    user.press(*"w_new")
    composing = "{key: 'Enter', isComposing: true, bubbles: true, cancelable: true}"
    user.driver.execute_script(
        f"document.querySelector('#label').dispatchEvent(new KeyboardEvent('keydown', {composing}))"
    )
    assert user.find_all("dialog[open] #label")
    user.press(ENTER)
    user.expect_decisions(("label", "2_1.png", "w_new"))


def test_a_failed_navigation_leaves_the_page_as_it_was(user: BrowserUser) -> None:
    user.open("#/image/2_1.png", ".photograph .card")
    user.driver.execute_script("location.hash = '#/image/unlisted.png'")
    user.wait(lambda: "there is no such image in the lists" in user.text("#message.error"))
    user.wait(lambda: user.driver.current_url.endswith("/#/image/2_1.png"))
    user.press("d")
    user.expect_decisions(("drop", "2_1.png", ""))
    user.wait(lambda: "dropped" in user.text(".photograph .badges"))


def test_a_page_opened_on_faulty_decisions_works_once_they_are_fixed(
    user: BrowserUser,
) -> None:
    user.wait(user.current_address)
    user.review.session.path.write_text("decision,subject,value,note\ndrob,x,,\n")
    user.driver.refresh()
    user.wait(lambda: "line 2: 'drob' is no decision" in user.text("#view .empty"))
    user.review.session.path.unlink()
    user.find_all("nav a[data-view=images]")[0].click()
    user.wait(lambda: user.find_all(".tile"))
    user.press("n")
    assert user.text("nav a[aria-current]").startswith("Images")


def test_the_page_opens_through_a_redirect_file_and_can_be_reloaded(
    user: BrowserUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import webbrowser

    from kitbox.look import server

    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    user.driver.delete_all_cookies()
    with server.open_browser(user.address, tmp_path):
        [uri] = user.wait(lambda: opened)
        user.driver.get(uri)
        user.wait(lambda: user.find_all(".cards .card"), "the first item")
    user.driver.refresh()
    user.wait(lambda: user.find_all(".cards .card"), "the first item again")
    assert user.driver.current_url.startswith("http://127.0.0.1:")
