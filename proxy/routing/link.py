"""The link by which a human finds an escalation: signed, so that it needs no log-in and can be guessed by nobody.

    <url>/escalations/<route>/<id>?expires=<unix seconds>&signature=<64 hexadecimal digits>

The signature is HMAC-SHA256 (RFC 2104) with the configuration's escalations.secret over the UTF-8 text of four lines

    crossfade-escalation-1
    <route>
    <id>
    <expires>

joined by one line feed, none at the end. Neither a route's name nor an id holds one.
"""

import hmac
from typing import Final

EXPIRED: Final = "expired"
INVALID: Final = "invalid"

_VERSION: Final = "crossfade-escalation-1"


def link(url: str, secret: str, route: str, escalation_id: str, expires: int) -> str:
    """`url` is that of the admin side, without a slash at its end."""
    signature = sign(secret, route, escalation_id, expires)
    return f"{url}/escalations/{route}/{escalation_id}?expires={expires}&signature={signature}"


def sign(secret: str, route: str, escalation_id: str, expires: int) -> str:
    text = "\n".join((_VERSION, route, escalation_id, str(expires)))
    return hmac.digest(secret.encode(), text.encode(), "sha256").hex()


def verify(secret: str, route: str, escalation_id: str, expires: int, signature: str, now: float) -> str:
    """Empty where the link is good now (Unix time), else why not. `expired` is said only of one that was good once. An
    empty secret accepts nothing."""
    expected = sign(secret, route, escalation_id, expires)
    if not secret or not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass")):
        return INVALID
    return EXPIRED if expires <= now else ""
