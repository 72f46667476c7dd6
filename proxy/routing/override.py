"""The signed override: a tester's header that says which arm serves.

The value is `agent; route=refunds; expires=1764000000; sig=` and 64 lower-case hexadecimal digits: HMAC-SHA256 (RFC
2104) with the configuration's override.secret over the UTF-8 text of four lines

    crossfade-override-1
    agent
    1764000000
    refunds

that is version, arm, expiry in Unix seconds and route, joined by one line feed, none at the end. Arm and expiry hold no
line feed and the route is the last, so two different overrides have two different texts. There is one spelling of each
override: a value that differs in any byte, blanks and case included, is refused.
"""

import hmac
import re
from typing import Final

from proxy.model.words import Arm

HEADER: Final = "x-crossfade-arm"

LONGEST: Final = 30 * 86400
"""Seconds from now to the latest expiry that is accepted: a tester's pass must end."""

ACCEPTED: Final = "accepted"
EXPIRED: Final = "expired"
INVALID: Final = "invalid"
"""The values of `result` in the measure `overrides_total`."""

_VERSION: Final = "crossfade-override-1"
_MAX_VALUE: Final = 256
_VALUE: Final = re.compile(rb"(agent|legacy); route=[a-z0-9_-]{1,64}; expires=([1-9][0-9]{0,10}); sig=[0-9a-f]{64}")


def sign(secret: str, route: str, arm: Arm, expires: int) -> str:
    """The header's value that lets `arm` serve on `route` until `expires` (Unix seconds)."""
    return _sign(secret.encode(), route, arm, expires)


def verify(secret: bytes, route: str, value: bytes, now: float) -> tuple[Arm | None, str]:
    """The arm that the header's value asks for on `route`, and `accepted`; or None and why not. `now` is Unix time.

    `expired` is said only of a value that was once good. All else is `invalid`: malformed, signed with another secret
    or for another route, or with an expiry more than LONGEST ahead. An empty secret accepts nothing.
    """
    found = _VALUE.fullmatch(value) if secret and len(value) <= _MAX_VALUE else None
    if found is None:
        return None, INVALID
    arm, expires = Arm(found[1].decode()), int(found[2])
    expected = _sign(secret, route, arm, expires).encode()
    if not hmac.compare_digest(expected, value) or expires > now + LONGEST:
        return None, INVALID
    if expires <= now:
        return None, EXPIRED
    return arm, ACCEPTED


def _sign(secret: bytes, route: str, arm: Arm, expires: int) -> str:
    text = "\n".join((_VERSION, arm.value, str(expires), route))
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    return f"{arm.value}; route={route}; expires={expires}; sig={signature}"
