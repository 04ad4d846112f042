from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.deploy.server.conftest import asked

TOKEN = "a" * 40


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_a_server_of_this_machine_answers_to_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "", "[", "a@localhost@b"],
)
def test_and_to_no_other(client: TestClient, host: str) -> None:
    """So that a page whose name was made to point here (DNS rebinding) reads nothing."""
    answer = client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == 421
    assert list(answer.json()) == ["error"]


def test_one_that_is_bound_wider_answers_to_any_name(digits_run: Path) -> None:
    with asked(digits_run, host="0.0.0.0") as client:
        assert client.get("/healthz", headers={"Host": "my.machine:8000"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "http://[", "https://localhost.x"]
)
def test_pages_of_other_sites_are_refused(client: TestClient, origin: str) -> None:
    answer = client.post("/v1/predict", headers={"Origin": origin}, files={"files": b"x"})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_page_is_answered(client: TestClient) -> None:
    assert client.get("/v1/models", headers={"Origin": "http://localhost"}).status_code == 200


def test_every_answer_says_what_a_browser_may_do(client: TestClient) -> None:
    for path in ("/healthz", "/v1/models", "/nothing", "/docs", "/openapi.json", "/metrics"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert "unsafe-inline" not in headers["content-security-policy"].partition("script-src")[2]


def test_the_documentation_asks_for_nothing_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "<script" not in page
    assert "//" not in page.replace("http://localhost:8000/v1/predict", "").replace("</", "")
    assert "/v1/predict" in page


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
)
def test_without_its_token_nothing_is_told(digits_run: Path, given: str | None) -> None:
    with asked(digits_run, token=TOKEN) as client:
        headers = {} if given is None else {"Authorization": given}
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nothing"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/predict", headers=headers, files={"files": b"x"}).status_code == 401
        assert client.get("/healthz", headers=headers).status_code == 200


def test_with_its_token_everything_is(digits_run: Path) -> None:
    with asked(digits_run, token=TOKEN) as client:
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/../card.json", "/v1/models/../../card.json", "/page/../../card.json", "/%2e%2e/card.json"]
)
def test_no_path_reaches_a_file(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 405)
