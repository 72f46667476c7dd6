"""Which names can only mean this machine."""

import pytest

from proxy.admin.shield import is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"]
)
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "evil"]
)
def test_these_are_not(host: str) -> None:
    assert not is_loopback(host)
