"""Browsers: the key in a cookie, and what a request by cookie must show before it may change anything."""

from pathlib import Path
from typing import Any

from tests.transport.http.house import House, open_house


def origin_of(house: House) -> dict[str, str]:
    return {"Origin": str(house.client.base_url).rstrip("/")}


async def test_a_key_in_the_cookie_opens_what_it_would_open_in_the_header(tmp_path: Path) -> None:
    async with open_house(tmp_path, require_credentials=True) as house:
        key = house.keys.add("acme", "read-only")
        before = await house.refused("GET", "/me")
        signed_in = await house.ask("POST", "/login", json={"key": key})
        me = await house.ask("GET", "/me")
        signed_out = await house.ask("POST", "/logout", headers={**origin_of(house), "Runtara-Csrf": "1"})
        after = await house.refused("GET", "/me")

    cookie = signed_in.headers["set-cookie"]
    assert before[0] == after[0] == 401
    assert me.json() == signed_in.json() == {"tenant_id": "acme", "role": "read-only"}
    assert {part.strip() for part in cookie.split(";")[1:]} == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert "Max-Age=0" in signed_out.headers["set-cookie"]
    assert key not in signed_in.text


async def test_over_tls_the_cookie_is_one_that_no_other_host_can_set(tmp_path: Path) -> None:
    async with open_house(tmp_path, http_tls=True, require_credentials=True) as house:
        signed_in = await house.ask("POST", "/login", json={"key": house.keys.add("acme")})
        me = await house.ask("GET", "/me")

    assert signed_in.headers["set-cookie"].startswith("__Host-runtara=rtk_")
    assert "Secure" in signed_in.headers["set-cookie"]
    assert me.json()["tenant_id"] == "acme"


async def test_a_request_by_cookie_changes_nothing_unless_a_page_of_ours_has_sent_it(tmp_path: Path) -> None:
    async with open_house(tmp_path, require_credentials=True) as house:
        await house.ask("POST", "/login", json={"key": house.keys.add("acme")})

        async def register(**headers: str) -> int:
            body: Any = {"attempt_id": "a"}
            head = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await house.ask("POST", "/instances/one/register", json=body, headers=head)).status_code

        ours = origin_of(house)["Origin"]
        bare = await register()
        unmarked = await register(Origin=ours)
        homeless = await register(Runtara_Csrf="1")
        foreign = await register(Runtara_Csrf="1", Origin="https://evil.example")
        sandboxed = await register(Runtara_Csrf="1", Origin="null")
        cross = await register(Runtara_Csrf="1", Sec_Fetch_Site="cross-site")
        right = await register(Runtara_Csrf="1", Origin=ours)
        read = (await house.ask("GET", "/instances/one")).status_code

    assert {bare, unmarked, homeless, foreign, sandboxed, cross} == {403}
    assert (right, read) == (200, 200)


async def test_what_is_no_key_of_a_tenant_does_not_sign_in(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        token = (await house.register("one"))["token"]
        wrong = await house.refused("POST", "/login", json={"key": "rtk_000000000000_" + "0" * 64})
        attempt = await house.refused("POST", "/login", json={"key": token})
        unknown = await house.refused("POST", "/login", json={"key": "x", "more": 1})
        form = await house.refused("POST", "/login", data={"key": "x"})

    assert (wrong[0], attempt[0], unknown[0], form[0]) == (401, 401, 400, 415)
