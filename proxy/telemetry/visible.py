"""Text from outside as it is shown on a page or a terminal: what would show as nothing, turn the writing around, or be
a terminal's command, is written out, so that what is read is what is there."""

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Not the joiners: emoji and several scripts need them."""


def visible(text: str) -> str:
    """Line feeds and tabs stay; `\\u202e` stands for what is not seen."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
