"""A parser of written pages: their elements, chunks of data, and what they would fetch."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

# Elements without an end tag.
VOID = {"meta", "img", "input", "br", "hr", "link"}


@dataclass
class ParsedPage(HTMLParser):
    """The elements of a page as (tag, attributes), its text, and its scripts by id."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    scripts: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[self.elements[-1][1].get("id", str(len(self.scripts)))] = data
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def chunk(self, name: str) -> Any:
        return json.loads(self.scripts[f"chunk-{name}"])


def parse(path: Path) -> ParsedPage:
    """Return a page after checking that it is well formed and fetches nothing."""
    html = path.read_text(encoding="utf-8")
    page = ParsedPage()
    page.feed(html)
    page.close()
    assert (page.open, page.unclosed) == ([], [])
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "poster", "data"):
                assert value.startswith(("#", "data:")), f"<{tag} {name}={value}>"
            assert not name.startswith("on"), f"<{tag} {name}>"
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all("alt" in image for image in page.of("img"))
    assert not re.search(r"url\((?!#)|@import", html)
    return page
