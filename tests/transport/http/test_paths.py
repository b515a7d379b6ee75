"""Which handler a request is for."""

from runtara.transport.http._operations import OPERATIONS
from runtara.transport.http._paths import Paths

PATHS = Paths(
    [
        ("GET", "/images/{image}", "one"),
        ("POST", "/images/upload", "upload"),
        ("POST", "/images/{image}/use", "use"),
        ("GET", "/images/all", "all"),
        ("GET", "/images", "list"),
    ]
)


def test_what_names_more_of_the_path_itself_is_found_first() -> None:
    assert PATHS.find("GET", "/images/all") == ("all", "/images/all", {})
    assert PATHS.find("GET", "/images/upload") == ("one", "/images/{image}", {"image": "upload"})
    assert PATHS.find("POST", "/images/upload/use") == ("use", "/images/{image}/use", {"image": "upload"})


def test_a_segment_is_taken_as_it_was_sent_and_is_never_empty() -> None:
    assert PATHS.find("GET", "/images/a%2Fb") == ("one", "/images/{image}", {"image": "a%2Fb"})
    for path in ("/images/", "/images//use", "//images", "/images/a/b", "/Images", "images", ""):
        assert PATHS.find("GET", path) is None


def test_every_operation_is_found_by_its_own_path() -> None:
    rows = [(operation.row.verb, operation.row.path, command) for command, operation in OPERATIONS.items()]
    paths = Paths(rows)

    for verb, path, command in rows:
        found = paths.find(verb, path.replace("{", "").replace("}", ""))
        assert found is not None
        assert found[:2] == (command, path)
