"""The page in a real browser: navigating, deciding, drawing boxes and reloading."""

import json

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from tests.look.browser_user import DOWN, ENTER, ESCAPE, LEFT, RIGHT, BrowserUser
from tests.look.sample_review import HOSTILE_ID, HOSTILE_LABEL


def test_the_key_is_removed_from_the_address_and_reloading_works(user: BrowserUser) -> None:
    assert "key=" not in user.driver.current_url
    user.driver.refresh()
    user.wait(lambda: user.find_all(".cards .card"))
    assert user.text("nav a[aria-current]") == "Suspects 2"


def test_two_individuals_are_merged_by_a_key_and_later_steps_apply_it(user: BrowserUser) -> None:
    user.press("m")
    user.expect_decisions(("merge", "w_4", "w_3"))
    user.wait(lambda: "2 of 2" in user.text(".position"), "the next item")
    assert "w_4 is w_3" in user.text("#message")
    user.driver.refresh()
    user.wait(lambda: user.text("nav a[data-view=decisions]") == "Decisions 1")
    root = user.review.session.path.parent
    text = (root / "kitbox.toml").read_text().replace('broken = "stop"', 'broken = "drop"')
    (root / "kitbox.toml").write_text(text)
    result = CliRunner().invoke(app, ["data", "holdout", "--json", "--workspace", str(root)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert json.loads(result.stdout)["training individuals"]["test"] == 7 - 1
    labels = {line.split(",")[2] for line in (root / "holdout.csv").read_text().splitlines()}
    assert "w_4" not in labels


def test_keys_drop_relabel_and_distrust_images(user: BrowserUser) -> None:
    user.open("#/suspects/1", ".card")
    user.press(RIGHT, "d")
    user.expect_decisions(("drop", "4_1.png", ""))
    user.press("u")
    user.expect_decisions()
    user.open("#/suspects/1", ".card")
    user.press("1", "w")
    user.expect_decisions(("wrong", "3_1.png", ""))
    user.press("u")
    user.expect_decisions()
    user.open("#/suspects/1", ".card")
    user.press("2", "l")
    user.wait(lambda: user.find_all("dialog[open] #label"))
    user.press(*"w_new", ENTER)
    user.expect_decisions(("label", "4_1.png", "w_new"))


def test_a_group_of_a_split_label_becomes_a_new_individual(user: BrowserUser) -> None:
    user.open("#/suspects/2", ".groups")
    user.press("s", "l")
    user.wait(lambda: user.find_all("dialog[open] #label"))
    user.press(*"w_new", ENTER)
    user.expect_decisions(("label", "0_2.png", "w_new"), ("label", "0_3.png", "w_new"))
    user.press("u")
    user.expect_decisions()


def test_keys_mark_as_fine_keep_in_training_and_undo(user: BrowserUser) -> None:
    user.press("t")
    user.expect_decisions(("train", "3_1.png", ""))
    user.wait(lambda: "kept in training" in user.text(".badges"))
    user.press("f")
    user.expect_decisions(("train", "3_1.png", ""), ("fine", "3_1.png", "4_1.png"))
    user.wait(lambda: "2 of 2" in user.text(".position"))
    user.press("u")
    user.expect_decisions(("train", "3_1.png", ""))
    user.press("u")
    user.expect_decisions()
    user.press("u")
    user.wait(lambda: "nothing was decided since" in user.text("#message.error"))


def test_a_box_is_drawn_by_mouse_and_corrected_by_keys(user: BrowserUser) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    user.open("#/image/2_2.png", ".photograph .card")
    user.press("b")
    stage = user.wait(lambda: user.find_all("dialog[open] .viewer"))[0]
    scale = min(stage.size["width"] / 96, stage.size["height"] / 64)
    # from the stage's middle, which is the picture's: (48, 32) in its pixels
    moves = ActionChains(user.driver).move_to_element_with_offset(
        stage, round(-38 * scale), round(-22 * scale)
    )
    moves.click_and_hold().move_by_offset(round(60 * scale), round(40 * scale)).release().perform()
    user.press(ENTER)
    user.wait(lambda: len(user.rows()) == 1)
    [(kind, subject, value)] = user.rows()
    assert (kind, subject) == ("box", "2_2.png")
    assert [float(corner) for corner in value.split()] == pytest.approx([10, 10, 70, 50], abs=1)
    user.wait(lambda: "box drawn" in user.text(".badges"))
    user.press("b")
    user.wait(lambda: user.find_all("dialog[open] .viewer"))
    user.press(RIGHT, RIGHT, DOWN)
    shifted = [float(c) + by for c, by in zip(value.split(), (2, 1, 2, 1), strict=True)]
    ActionChains(user.driver).key_down("\ue008").send_keys(LEFT).key_up("\ue008").perform()
    shifted[2] -= 1
    user.press(ENTER)
    user.wait(lambda: len(user.rows()) == 2)
    assert [float(corner) for corner in user.rows()[1][2].split()] == shifted
    user.driver.refresh()
    user.wait(lambda: "box drawn" in user.text(".badges"))
    assert user.review.session.state.box("2_2.png") == tuple(shifted)


def test_a_cancelled_box_is_not_saved(user: BrowserUser) -> None:
    user.open("#/image/0_1.png", ".photograph .card")
    user.press("b")
    user.wait(lambda: "x0 10  y0 12" in user.text("dialog[open] .numbers"), "the listed box")
    user.press(RIGHT, ESCAPE)
    user.wait(lambda: not user.find_all("dialog[open]"))
    assert user.rows() == []


def test_images_are_searched_opened_and_stepped_through(user: BrowserUser) -> None:
    user.open("#/images", ".tile")
    user.press("/", *"t_", ENTER)
    user.wait(lambda: len(user.find_all(".tile")) == 8)
    user.press(ESCAPE, RIGHT, RIGHT, ENTER)
    user.wait(lambda: user.text(".photograph .id") == "t_1.png")
    user.press("n")
    user.wait(lambda: user.text(".photograph .id") == "t_2.png")
    user.press("d")
    user.wait(lambda: "is a test image and cannot be dropped" in user.text("#message.error"))
    assert user.rows() == []
    user.press("m")
    user.wait(lambda: len(user.find_all(".cards .card")) == 2)


def test_a_decision_is_taken_back_from_the_list(user: BrowserUser) -> None:
    user.press("d")
    user.expect_decisions(("drop", "3_1.png", ""))
    user.open("#/decisions", "table.decisions")
    [button] = user.find_all("table.decisions button")
    button.click()
    user.expect_decisions()
    user.wait(lambda: "No decisions yet" in user.text(".empty"))


def test_hostile_names_are_shown_and_never_executed(user: BrowserUser) -> None:
    user.open("#/images?text=émoji", ".tile")
    user.find_all(".tile")[0].click()
    user.wait(lambda: user.text(".photograph .id") == HOSTILE_ID)
    assert user.text(".photograph .chip") == HOSTILE_LABEL
    assert user.find_all(".photograph b img, .chip img, .id b") == []
    user.press("w")
    user.expect_decisions(("wrong", HOSTILE_ID, ""))
    user.open("#/decisions", "table.decisions")
    assert HOSTILE_ID in user.text("table.decisions")


def test_an_unreadable_image_shows_its_problem(user: BrowserUser) -> None:
    user.open("#/image/broken.png", ".photograph .card")
    assert "is not an image; replace or remove it" in user.text(".viewer .problem")
    user.press("b")
    user.wait(lambda: "cannot be read" in user.text("#message.error"))


def test_the_page_reports_that_the_server_is_gone(user: BrowserUser) -> None:
    user.driver.execute_script("window.fetch = () => Promise.reject(new TypeError('gone'))")
    user.press("m")
    user.wait(lambda: "the server does not answer; is 'kitbox look'" in user.text("#message.error"))
    assert user.rows() == []


def test_a_question_mark_lists_the_keys(user: BrowserUser) -> None:
    user.press("?")
    user.wait(lambda: "the same individual: merge the labels" in user.text("dialog[open]"))
    user.press("m", ESCAPE)
    user.wait(lambda: not user.find_all("dialog[open]"))
    assert user.rows() == []
