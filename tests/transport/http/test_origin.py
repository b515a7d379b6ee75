"""From which pages a browser may send what changes something."""

import pytest

from runtara.settings import Settings
from runtara.transport.http._origin import check_csrf, check_origin
from runtara.transport.http._problems import Turned

SETTINGS = Settings(http_origins="https://console.example:8443, https://other.example/")
HOST = b"runtara.local:8002"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({b"sec-fetch-site": b"same-origin"}, True),
        ({b"sec-fetch-site": b"none"}, True),
        ({b"sec-fetch-site": b"same-site"}, False),
        ({b"sec-fetch-site": b"cross-site"}, False),
        ({b"origin": b"http://runtara.local:8002"}, True),
        ({b"origin": b"HTTPS://Runtara.Local:8002"}, True),
        ({b"origin": b"http://runtara.local"}, False),
        ({b"origin": b"http://runtara.local:8002.evil.example"}, False),
        ({b"origin": b"http://runtara.local:8002@evil.example"}, False),
        ({b"origin": b"null"}, False),
        ({b"origin": b""}, False),
        ({b"origin": b"http://[::1"}, False),
        ({b"origin": b"https://console.example:8443"}, True),
        ({b"origin": b"https://other.example"}, True),
        ({b"origin": b"https://evil.example"}, False),
        ({b"origin": b"https://evil.example", b"sec-fetch-site": b"same-origin"}, False),
    ],
)
def test_a_page_is_ours_by_its_origin_or_is_named_in_the_settings(headers: dict[bytes, bytes], passes: bool) -> None:
    if passes:
        check_origin({b"host": HOST, **headers}, SETTINGS)
        return
    with pytest.raises(Turned) as caught:
        check_origin({b"host": HOST, **headers}, SETTINGS)
    assert caught.value.status == 403


def test_an_origin_that_whoever_asks_names_as_ours_is_ours() -> None:
    check_origin({b"host": HOST, b"origin": b"https://a.example"}, SETTINGS, {"https://a.example"})


def test_by_cookie_both_the_header_and_a_page_must_speak_for_it() -> None:
    both = {b"host": HOST, b"origin": b"http://runtara.local:8002", b"runtara-csrf": b"1"}

    check_csrf(both, SETTINGS)
    for missing in (b"origin", b"runtara-csrf"):
        with pytest.raises(Turned):
            check_csrf({name: value for name, value in both.items() if name != missing}, SETTINGS)
