"""In a real browser: walk, press keys, decide, draw, reload; and every later step obeys."""

import json

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from tests.look.tables import EVIL, NASTY
from tests.look.walking import DOWN, ENTER, ESCAPE, LEFT, RIGHT, Walk


def test_the_key_leaves_the_address_and_reloading_works(walk: Walk) -> None:
    assert "key=" not in walk.driver.current_url
    walk.driver.refresh()
    walk.wait(lambda: walk.all(".cards .card"))
    assert walk.text("nav a[aria-current]") == "Suspects 2"


def test_two_identities_are_merged_by_a_key_and_later_steps_obey(walk: Walk) -> None:
    walk.press("m")
    walk.decided(("merge", "w_4", "w_3"))
    walk.wait(lambda: "2 of 2" in walk.text(".where"), "the next case")
    assert "w_4 is w_3" in walk.text("#said")
    walk.driver.refresh()
    walk.wait(lambda: walk.text("nav a[data-view=decisions]") == "Decisions 1")
    root = walk.table.desk.path.parent
    text = (root / "kitbox.toml").read_text().replace('broken = "stop"', 'broken = "drop"')
    (root / "kitbox.toml").write_text(text)
    result = CliRunner().invoke(app, ["data", "holdout", "--json", "--workspace", str(root)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert json.loads(result.stdout)["training individuals"]["test"] == 7 - 1
    labels = {line.split(",")[2] for line in (root / "holdout.csv").read_text().splitlines()}
    assert "w_4" not in labels


def test_images_are_dropped_relabelled_and_distrusted_by_keys(walk: Walk) -> None:
    walk.go("#/suspects/1", ".card")
    walk.press(RIGHT, "d")
    walk.decided(("drop", "4_1.png", ""))
    walk.press("u")
    walk.decided()
    walk.go("#/suspects/1", ".card")
    walk.press("1", "w")
    walk.decided(("wrong", "3_1.png", ""))
    walk.press("u")
    walk.decided()
    walk.go("#/suspects/1", ".card")
    walk.press("2", "l")
    walk.wait(lambda: walk.all("dialog[open] #label"))
    walk.press(*"w_new", ENTER)
    walk.decided(("label", "4_1.png", "w_new"))


def test_a_group_of_one_label_becomes_an_individual_of_its_own(walk: Walk) -> None:
    walk.go("#/suspects/2", ".sides")
    walk.press("s", "l")
    walk.wait(lambda: walk.all("dialog[open] #label"))
    walk.press(*"w_new", ENTER)
    walk.decided(("label", "0_2.png", "w_new"), ("label", "0_3.png", "w_new"))
    walk.press("u")
    walk.decided()


def test_fine_training_and_undo(walk: Walk) -> None:
    walk.press("t")
    walk.decided(("train", "3_1.png", ""))
    walk.wait(lambda: "kept in training" in walk.text(".marks"))
    walk.press("f")
    walk.decided(("train", "3_1.png", ""), ("fine", "3_1.png", "4_1.png"))
    walk.wait(lambda: "2 of 2" in walk.text(".where"))
    walk.press("u")
    walk.decided(("train", "3_1.png", ""))
    walk.press("u")
    walk.decided()
    walk.press("u")
    walk.wait(lambda: "nothing was decided since" in walk.text("#said.wrong"))


def test_a_box_is_drawn_by_mouse_and_corrected_by_keys(walk: Walk) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    walk.go("#/image/2_2.png", ".photograph .card")
    walk.press("b")
    stage = walk.wait(lambda: walk.all("dialog[open] .stage"))[0]
    scale = min(stage.size["width"] / 96, stage.size["height"] / 64)
    # from the stage's middle, which is the picture's: (48, 32) in its pixels
    moves = ActionChains(walk.driver).move_to_element_with_offset(
        stage, round(-38 * scale), round(-22 * scale)
    )
    moves.click_and_hold().move_by_offset(round(60 * scale), round(40 * scale)).release().perform()
    walk.press(ENTER)
    walk.wait(lambda: len(walk.rows()) == 1)
    [(kind, subject, value)] = walk.rows()
    assert (kind, subject) == ("box", "2_2.png")
    assert [float(corner) for corner in value.split()] == pytest.approx([10, 10, 70, 50], abs=1)
    walk.wait(lambda: "box drawn" in walk.text(".marks"))
    walk.press("b")
    walk.wait(lambda: walk.all("dialog[open] .stage"))
    walk.press(RIGHT, RIGHT, DOWN)
    shifted = [float(c) + by for c, by in zip(value.split(), (2, 1, 2, 1), strict=True)]
    ActionChains(walk.driver).key_down("\ue008").send_keys(LEFT).key_up("\ue008").perform()
    shifted[2] -= 1
    walk.press(ENTER)
    walk.wait(lambda: len(walk.rows()) == 2)
    assert [float(corner) for corner in walk.rows()[1][2].split()] == shifted
    walk.driver.refresh()
    walk.wait(lambda: "box drawn" in walk.text(".marks"))
    assert walk.table.desk.standing.box("2_2.png") == tuple(shifted)


def test_a_box_that_is_left_is_not_saved(walk: Walk) -> None:
    walk.go("#/image/0_1.png", ".photograph .card")
    walk.press("b")
    walk.wait(lambda: "x0 10  y0 12" in walk.text("dialog[open] .numbers"), "the listed box")
    walk.press(RIGHT, ESCAPE)
    walk.wait(lambda: not walk.all("dialog[open]"))
    assert walk.rows() == []


def test_images_are_searched_opened_and_walked(walk: Walk) -> None:
    walk.go("#/images", ".tile")
    walk.press("/", *"t_", ENTER)
    walk.wait(lambda: len(walk.all(".tile")) == 8)
    walk.press(ESCAPE, RIGHT, RIGHT, ENTER)
    walk.wait(lambda: walk.text(".photograph .id") == "t_1.png")
    walk.press("n")
    walk.wait(lambda: walk.text(".photograph .id") == "t_2.png")
    walk.press("d")
    walk.wait(lambda: "is a test image and cannot be dropped" in walk.text("#said.wrong"))
    assert walk.rows() == []
    walk.press("m")
    walk.wait(lambda: len(walk.all(".cards .card")) == 2)


def test_a_decision_is_taken_back_from_the_list(walk: Walk) -> None:
    walk.press("d")
    walk.decided(("drop", "3_1.png", ""))
    walk.go("#/decisions", "table.decisions")
    [button] = walk.all("table.decisions button")
    button.click()
    walk.decided()
    walk.wait(lambda: "Nothing is decided yet" in walk.text(".empty"))


def test_names_are_shown_and_never_run(walk: Walk) -> None:
    walk.go("#/images?words=émoji", ".tile")
    walk.all(".tile")[0].click()
    walk.wait(lambda: walk.text(".photograph .id") == NASTY)
    assert walk.text(".photograph .chip") == EVIL
    assert walk.all(".photograph b img, .chip img, .id b") == []
    walk.press("w")
    walk.decided(("wrong", NASTY, ""))
    walk.go("#/decisions", "table.decisions")
    assert NASTY in walk.text("table.decisions")


def test_an_unreadable_image_shows_its_problem(walk: Walk) -> None:
    walk.go("#/image/broken.png", ".photograph .card")
    assert "is not an image; replace or remove it" in walk.text(".stage .problem")
    walk.press("b")
    walk.wait(lambda: "cannot be read" in walk.text("#said.wrong"))


def test_without_the_server_the_page_says_so(walk: Walk) -> None:
    walk.driver.execute_script("window.fetch = () => Promise.reject(new TypeError('gone'))")
    walk.press("m")
    walk.wait(lambda: "the server does not answer; is 'kitbox look'" in walk.text("#said.wrong"))
    assert walk.rows() == []


def test_keys_are_told_by_a_question_mark(walk: Walk) -> None:
    walk.press("?")
    walk.wait(lambda: "the same individual: merge the labels" in walk.text("dialog[open]"))
    walk.press("m", ESCAPE)
    walk.wait(lambda: not walk.all("dialog[open]"))
    assert walk.rows() == []
