from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.routing.link import EXPIRED, INVALID, link, sign, verify

SECRET = "sixteen-characters"


def test_a_link_leads_to_the_page_and_is_good_until_it_expires() -> None:
    parts = urlsplit(link("https://crossfade.example.com", SECRET, "refunds", "e-1", 1_000))
    query = parse_qs(parts.query)
    assert (parts.netloc, parts.path) == ("crossfade.example.com", "/escalations/refunds/e-1")
    assert query["expires"] == ["1000"]
    [signature] = query["signature"]
    assert verify(SECRET, "refunds", "e-1", 1_000, signature, now=999.9) == ""
    assert verify(SECRET, "refunds", "e-1", 1_000, signature, now=1_000.0) == EXPIRED


@pytest.mark.parametrize(
    ("secret", "route", "escalation", "expires"),
    [
        ("another-sixteen-c", "refunds", "e-1", 1_000),
        (SECRET, "claims", "e-1", 1_000),
        (SECRET, "refunds", "e-2", 1_000),
        (SECRET, "refunds", "e-1", 1_001),
    ],
)
def test_a_signature_is_of_one_secret_route_escalation_and_expiry(
    secret: str, route: str, escalation: str, expires: int
) -> None:
    signature = sign(SECRET, "refunds", "e-1", 1_000)
    assert verify(secret, route, escalation, expires, signature, now=0.0) == INVALID


@pytest.mark.parametrize("signature", ["", "0" * 64, sign(SECRET, "refunds", "e-1", 1_000).upper(), "é", "\udcff"])
def test_what_is_no_signature_is_told_from_one_that_has_expired(signature: str) -> None:
    assert verify(SECRET, "refunds", "e-1", 1_000, signature, now=2_000.0) == INVALID


def test_without_a_secret_nothing_is_good() -> None:
    assert verify("", "refunds", "e-1", 1_000, sign("", "refunds", "e-1", 1_000), now=0.0) == INVALID
