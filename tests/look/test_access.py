"""Access control: only the page itself is served, at its own address, with its key and token."""

from http.cookies import SimpleCookie

import pytest

from kitbox.look.access import AccessControl
from kitbox.look.review_items import Review
from tests.look.sample_review import PORT, PageClient

DROP = {"decisions": [{"kind": "drop", "subject": "0_0.png", "value": ""}]}


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}"])
def test_the_page_opens_under_both_names_of_this_computer(page: PageClient, host: str) -> None:
    assert page.client.get(f"/?key={page.access.key}", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", f"0.0.0.0:{PORT}", ""],
)
@pytest.mark.parametrize("path", ["/", "/picture", "/api/overview", "/static/look.js", "/nowhere"])
def test_another_host_is_refused_on_every_path(page: PageClient, host: str, path: str) -> None:
    response = page.get(path, {"key": page.access.key, "id": "0_0.png", "size": 200}, Host=host)
    assert response.status_code == 403
    assert f"this server answers to 127.0.0.1:{PORT} only" in response.json["error"]


def test_a_foreign_domain_that_points_here_cannot_decide(page: PageClient, review: Review) -> None:
    response = page.post(
        "/api/decide", DROP, Host=f"evil.example:{PORT}", Origin=f"http://evil.example:{PORT}"
    )
    assert response.status_code == 403
    assert not review.session.path.exists()


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        f"https://127.0.0.1:{PORT}",
        "http://127.0.0.1:9999",
        "null",
        "",
    ],
)
def test_a_decision_from_another_origin_is_refused(
    page: PageClient, review: Review, origin: str
) -> None:
    response = page.post("/api/decide", DROP, Origin=origin)
    assert response.status_code == 403
    assert response.json["error"] == "decisions are accepted only from the page of kitbox look"
    assert not review.session.path.exists()


def test_a_decision_without_an_origin_is_refused(page: PageClient, review: Review) -> None:
    headers = {"Host": f"127.0.0.1:{PORT}", "X-Kitbox-Token": page.access.token}
    assert page.client.post("/api/decide", json=DROP, headers=headers).status_code == 403
    assert not review.session.path.exists()


@pytest.mark.parametrize("token", ["", "wrong", "é"])
@pytest.mark.parametrize("path", ["/api/decide", "/api/undo", "/api/take-back"])
def test_a_decision_without_the_token_of_this_start_is_refused(
    page: PageClient, review: Review, path: str, token: str
) -> None:
    response = page.post(path, DROP, **{"X-Kitbox-Token": token})
    assert response.status_code == 403
    assert response.json["error"] == "this page is of an earlier start; open the new address"
    assert not review.session.path.exists()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_can_neither_read_nor_decide(page: PageClient, site: str) -> None:
    sent = {"Sec-Fetch-Site": site}
    for response in (
        page.get("/picture", {"id": "0_0.png", "size": 200}, **sent),
        page.get("/api/overview", **sent),
        page.get("/", **sent),
        page.post("/api/decide", DROP, **sent),
    ):
        assert response.status_code == 403
        assert "another site requested this" in response.json["error"]


def test_a_link_from_elsewhere_may_open_the_page_itself(page: PageClient) -> None:
    sent = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert page.get("/", {"key": page.access.key}, **sent).status_code == 200
    assert page.get("/api/overview", **sent).status_code == 403


@pytest.mark.parametrize("path", ["/", "/api/overview", "/static/look.js", "/picture?id=0_0.png"])
@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_key_nothing_is_served(page: PageClient, path: str, key: str | None) -> None:
    client = page.app.test_client()
    if key is not None:
        client.set_cookie(f"kitbox_look_{PORT}", key, domain="127.0.0.1")
    response = client.get(path, headers=page.own)
    assert response.status_code == 403
    assert response.json["error"] == "open the address that 'kitbox look' printed, with its key"


def test_the_key_is_kept_in_a_cookie_that_other_sites_cannot_send(page: PageClient) -> None:
    opened = page.get("/", {"key": page.access.key})
    cookie = SimpleCookie(opened.headers["Set-Cookie"])[f"kitbox_look_{PORT}"]
    assert cookie.value == page.access.key
    assert cookie["samesite"] == "Strict"
    assert cookie["httponly"]
    assert page.access.token not in opened.headers["Set-Cookie"]


def test_every_start_has_a_new_key_and_a_new_token(page: PageClient) -> None:
    other = AccessControl(PORT)
    assert len({other.key, other.token, page.access.key, page.access.token}) == 4
    assert all(len(secret) >= 24 for secret in (other.key, other.token))


@pytest.mark.parametrize("path", ["/", "/api/overview", "/static/look.js", "/nowhere"])
def test_every_response_has_security_headers(page: PageClient, path: str) -> None:
    headers = page.get(path, {"key": page.access.key}).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_has_no_inline_script_or_style(page: PageClient) -> None:
    assert page.html.count("<script") == 1
    assert '<script type="module" src="/static/look.js"></script>' in page.html
    assert "<style" not in page.html
    assert "http" not in page.html.replace("http-equiv", "")
