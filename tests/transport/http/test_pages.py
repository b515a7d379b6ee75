"""What everybody may ask: whether the host lives and serves, its metrics, and the files of the console."""

from pathlib import Path

from runtara.transport.http._pages import read_files
from tests.transport.http.house import open_house


async def test_it_says_whether_it_lives_and_serves_and_how_much_it_has_done(tmp_path: Path) -> None:
    async with open_house(tmp_path, require_credentials=True) as house:
        alive = await house.client.get("/healthz")
        ready = await house.client.get("/readyz")
        await house.ask("GET", "/health")
        metrics = await house.client.get("/metrics")
        house.host.gate.drain()
        leaving = await house.client.get("/readyz")

    assert (alive.status_code, alive.json()["status"]) == (200, "alive")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert 'runtara_http_requests_total{method="GET",route="/api/v1/health",status="401"} 1.0' in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain")
    assert (leaving.status_code, "retry-after" in leaving.headers) in ((503, True), (200, False))


async def test_files_have_types_and_tags_and_are_only_to_be_read(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        page = await house.client.get("/docs")
        again = await house.client.get("/docs", headers={"If-None-Match": page.headers["etag"]})
        script = await house.client.get("/ui/docs.js")
        written = await house.client.post("/docs")
        options = await house.client.options("/docs")
        outside = [
            await house.client.get(path)
            for path in ("/ui/../app.py", "/ui/%2e%2e/app.py", "/ui/", "/ui/nothing.js", "/x")
        ]

    assert (page.headers["content-type"], script.headers["content-type"]) == (
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
    )
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert (again.status_code, again.content) == (304, b"")
    assert (written.status_code, written.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert options.status_code == 204
    assert {answer.status_code for answer in outside} == {404}


def test_no_page_of_ours_needs_the_internet_or_scripts_of_its_own_inside() -> None:
    for name, (kind, _, content) in read_files().items():
        text = content.decode(errors="replace")
        if kind.startswith(b"text/html"):
            assert "<script>" not in text, name
            assert "<style" not in text, name
            assert " onclick" not in text, name
            assert 'src="http' not in text, name
            assert 'href="http' not in text, name
