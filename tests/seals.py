"""Keys for tests of what is sealed."""

import base64

from proxy.model.snapshot import SealingKey


def sealing_key(name: str, byte: int) -> SealingKey:
    return SealingKey(name, base64.b64encode(bytes([byte]) * 32).decode())


OLD_KEY, NEW_KEY = sealing_key("2026-01", 1), sealing_key("2026-07", 2)
