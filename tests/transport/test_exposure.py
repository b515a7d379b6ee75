import pytest

from runtara.errors import ConfigError
from runtara.settings import Settings
from runtara.transport.exposure import asks_for_credentials, check_exposure, is_exposed

ADDRESSES = pytest.mark.parametrize(
    ("host", "exposed"),
    [
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", True),
    ],
)


@ADDRESSES
def test_only_loopback_is_out_of_reach(host: str, exposed: bool) -> None:
    assert is_exposed(host) is exposed


@ADDRESSES
@pytest.mark.parametrize("required", [None, True, False])
def test_credentials_are_asked_for_where_others_can_connect_unless_it_is_said(
    host: str, exposed: bool, required: bool | None
) -> None:
    expected = exposed if required is None else required

    assert asks_for_credentials(Settings(host=host, require_credentials=required)) is expected


@ADDRESSES
@pytest.mark.parametrize("required", [None, True, False])
def test_a_server_that_would_do_what_anybody_asks_for_is_refused(
    host: str, exposed: bool, required: bool | None
) -> None:
    settings = Settings(host=host, require_credentials=required)

    if exposed and required is False:
        with pytest.raises(ConfigError) as refused:
            check_exposure(settings)
        assert all(word in str(refused.value) for word in (host, "RUNTARA_REQUIRE_CREDENTIALS", "127.0.0.1"))
    else:
        check_exposure(settings)


@pytest.mark.parametrize("host", ["[x", "no such host", "x" * 300, ""])
def test_what_is_no_address_is_refused_by_name(host: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        is_exposed(host)
