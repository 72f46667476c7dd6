"""What the way in may be."""

import pytest

from proxy.config.listen_schema import ListenTls
from tests.unit.config.texts import SMALL, loaded


@pytest.mark.parametrize("written", ["1.3", "'1.3'", "${V}"])
def test_a_version_of_tls_may_be_a_number_or_text(written: str) -> None:
    text = f"listen: {{tls: {{cert_file: a, key_file: b, min_version: '${{V}}'}}}}\n{SMALL}".replace("'${V}'", written)
    tls = loaded(text.replace("${V}", "'${V}'"), {"V": "1.3"}).listen.tls
    assert tls == ListenTls(cert_file="a", key_file="b", min_version="1.3")


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("fd00:0::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_trusted_proxies_are_networks_or_addresses(written: str, network: str) -> None:
    config = loaded(f"listen: {{trusted_proxies: ['{written}']}}\n{SMALL}")
    assert config.listen.trusted_proxies == (network,)
