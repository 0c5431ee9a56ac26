"""A user of the review page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import quote

from kitbox.decisions import decision_file
from kitbox.look.review_items import Review
from kitbox.look.server import create_server, listen

ESCAPE, ENTER = "\ue00c", "\ue007"
LEFT, RIGHT, UP, DOWN = "\ue012", "\ue014", "\ue013", "\ue015"


class BrowserUser:
    """A user who presses keys and waits for the page."""

    def __init__(self, driver: Any, review: Review, address: str) -> None:
        self.driver, self.review, self.address = driver, review, address

    def wait(self, condition: Callable[[], Any], message: str = "") -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.driver, 15, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return waiting.until(lambda _: condition(), message)

    def find_all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.find_all(selector))

    def open(self, address: str, until: str) -> None:
        self.wait(self.current_address, "the page is ready")
        self.driver.execute_script("location.hash = encodeURI(arguments[0])", address)
        self.wait(
            lambda: self.current_address() == quote(address, safe="#/?=&"), f"{address} is open"
        )
        self.wait(lambda: self.find_all(until), f"{until} on {address}")

    def current_address(self) -> str | None:
        """Return the address that is shown; None while the page is busy."""
        [view] = self.find_all("#view")
        idle = view.get_attribute("aria-busy") == "false" and not self.unseen()
        return view.get_attribute("data-shown") if idle else None

    def unseen(self) -> bool:
        """Return whether an item was opened automatically a moment ago."""
        return bool(self.find_all("#view[data-unseen]"))

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            # keys are ignored while the page is busy
            self.wait(
                lambda: self.current_address() or self.find_all("dialog[open]"), "the page is ready"
            )
            ActionChains(self.driver).send_keys(key).perform()

    def rows(self) -> list[tuple[str, str, str]]:
        read = decision_file.load(self.review.session.path)
        return [(row.kind, row.subject, row.value) for row in read.rows]

    def expect_decisions(self, *expected: tuple[str, str, str]) -> None:
        self.wait(lambda: self.rows() == list(expected), f"{expected}, not {self.rows()}")


@contextmanager
def served(browser: Any, review: Review, until: str) -> Iterator[BrowserUser]:
    """Yield a user who has opened the page of a review; the browser must log no error."""
    with listen(0) as listening:
        server, address = create_server(review, listening)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        browser.get(address)
        opened = BrowserUser(browser, review, address)
        opened.wait(lambda: opened.find_all(until), "the first item")
        yield opened
        # chromium logs every refused request, which the page reports itself
        expected = ("status of 400", "status of 404")
        wrong = [
            line["message"]
            for line in browser.get_log("browser")
            if line["level"] == "SEVERE"
            and not any(status in line["message"] for status in expected)
        ]
        browser.get("about:blank")
        server.shutdown()
        thread.join(10)
    assert wrong == []
