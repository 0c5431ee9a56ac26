"""A person in front of the page, in a real browser."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from kitbox.competition import decisions
from kitbox.look.cases import Table

ESCAPE, ENTER = "\ue00c", "\ue007"
LEFT, RIGHT, DOWN = "\ue012", "\ue014", "\ue015"


class Walk:
    """A person in front of the page."""

    def __init__(self, driver: Any, table: Table, address: str) -> None:
        self.driver, self.table, self.address = driver, table, address

    def wait(self, holds: Callable[[], Any], said: str = "") -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.driver, 15, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return waiting.until(lambda _: holds(), said)

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.all(selector))

    def go(self, address: str, until: str) -> None:
        self.wait(self.shown, "the page is ready")
        self.driver.execute_script("location.hash = encodeURI(arguments[0])", address)
        self.wait(lambda: self.shown() == quote(address, safe="#/?=&"), f"{address} is open")
        self.wait(lambda: self.all(until), f"{until} on {address}")

    def shown(self) -> str | None:
        """Return the address of what is shown; None while the page is at work."""
        [view] = self.all("#view")
        idle = view.get_attribute("aria-busy") == "false" and not self.unseen()
        return view.get_attribute("data-shown") if idle else None

    def unseen(self) -> bool:
        """Return whether a case came by itself a moment ago."""
        return bool(self.all("#view[data-unseen]"))

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            # a person sees what a key is for
            self.wait(lambda: self.shown() or self.all("dialog[open]"), "the page is ready")
            ActionChains(self.driver).send_keys(key).perform()

    def rows(self) -> list[tuple[str, str, str]]:
        read = decisions.load(self.table.desk.path)
        return [(row.kind, row.subject, row.value) for row in read.rows]

    def decided(self, *expected: tuple[str, str, str]) -> None:
        self.wait(lambda: self.rows() == list(expected), f"{expected}, not {self.rows()}")
