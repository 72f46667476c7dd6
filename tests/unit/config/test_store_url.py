"""URLs of stores: one host or several, and never a password shown."""

import pytest

from proxy.config.store_url import Hosts, check_store, mask_store, parse_hosts
from proxy.config.units import UnfitError


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://h", None),
        ("rediss://u:p@h:1/2?ssl_cert_reqs=none", None),
        ("redis+sentinel://h/s", Hosts("sentinel", (("h", 26379),), "redis://h", "s")),
        (
            "redis+sentinel://u:p%40x@h1:1,[::1]:2,[::2]/my-service/3?sentinel_password=a%20b&sentinel_username=c",
            Hosts(
                "sentinel",
                (("h1", 1), ("::1", 2), ("::2", 26379)),
                "redis://u:p%40x@h1:1/3",
                "my-service",
                "c",
                "a b",
            ),
        ),
        (
            "rediss+cluster://:p,w@h1,h2:2?ssl_ca_certs=/ca.pem",
            Hosts("cluster", (("h1", 6379), ("h2", 2)), "rediss://:p,w@h1?ssl_ca_certs=/ca.pem"),
        ),
        ("redis+cluster://h/0", Hosts("cluster", (("h", 6379),), "redis://h/0")),
    ],
)
def test_where_it_is(url: str, hosts: Hosts | None) -> None:
    assert check_store(url) == url
    assert parse_hosts(url) == hosts


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://h", "names no service"),
        ("redis+sentinel://h/", "names no service"),
        ("redis+sentinel://h/s/x", "names no service"),
        ("redis+cluster://h/1", "a Cluster has none"),
        ("redis+cluster://h?db=0", "has the option 'db'"),
        ("redis+cluster://h?sentinel_password=x", "has the option 'sentinel_password'"),
        ("rediss+cluster://h?ssl_password=x", "has the option 'ssl_password'"),
        ("redis+sentinel://h/s?ssl_ca_certs=x", "has the option 'ssl_ca_certs'"),
        ("redis://h1,h2/0", "must be one host"),
        ("redis://h/x", "must be one host"),
        ("redis://h:0", "names the port 0"),
        ("redis+cluster://h,:1", "must be embedded"),
        ("redis+cluster://h,", "must be embedded"),
        ("redis+cluster://", "must be embedded"),
        ("unix+sentinel:///x", "must be embedded"),
        ("unix://", "must be embedded"),
        ("redis://h:port", "must be embedded"),
    ],
)
def test_what_is_no_store_is_told_how_to_write_one(url: str, said: str) -> None:
    with pytest.raises(UnfitError, match=said):
        check_store(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://h1,h2/s", "redis+sentinel://h1,h2/s"),
        ("redis+sentinel://u:hunter2@h1:1,h2/s/0", "redis+sentinel://***@h1:1,h2/s/0"),
        (
            "redis+sentinel://h/s?sentinel_username=u&sentinel_password=hunter2",
            "redis+sentinel://h/s?sentinel_username=***&sentinel_password=***",
        ),
        ("rediss+cluster://:hun@ter2@h1,h2", "rediss+cluster://***@h1,h2"),
    ],
)
def test_no_user_and_password_is_shown(url: str, shown: str) -> None:
    assert mask_store(url) == shown
