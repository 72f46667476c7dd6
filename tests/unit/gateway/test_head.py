"""What a head must be. The cases by bytes on a socket are in tests/integration; here is what those do not show."""

from proxy.gateway import head


def test_hosts_are_remembered_up_to_a_bound() -> None:
    for number in range(3000):
        host = b"h%d.example" % number
        assert head.one_host([host], b"/", old=False) == host
        assert head.one_host([host], b"/", old=False) == host
    assert len(head._known_hosts) <= 1024


def test_a_long_host_is_not_remembered() -> None:
    host = b"x" * 1000
    assert head.one_host([host], b"/", old=False) == host
    assert host not in head._known_hosts


def test_what_is_remembered_is_what_is_told() -> None:
    """A host that is told otherwise than it was said is looked at each time."""
    for _ in range(2):
        assert head.one_host([b"told.example:"], b"/", old=False) == b"told.example"
