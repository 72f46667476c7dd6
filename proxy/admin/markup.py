"""HTML of what others sent, on pages without scripts: everything is text, whatever it looks like.

`Html` is what may stand in a page as it is; whatever else is put into one is escaped.
"""

import base64
import hashlib
import html
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from proxy.telemetry.visible import visible

MAX_SHOWN: Final = 100_000
"""Characters of one text on a page; of what is longer its beginning is shown, and how much is missing."""


class Html(NamedTuple):
    text: str


def element(name: str, *inside: Any, **attributes: str) -> Html:
    """`class_` is the attribute `class`; names and attributes' names are ours."""
    given = "".join(f' {key.rstrip("_")}="{_escaped(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{join(*inside).text}</{name}>")


def join(*parts: Any) -> Html:
    """One after the other; None is nothing."""
    return Html("".join(part.text if isinstance(part, Html) else _escaped(part) for part in parts if part is not None))


def names(rows: Iterable[tuple[str, Any]]) -> Html:
    """Names and what is said of them; a row whose value is None or empty is left out."""
    shown = [(name, value) for name, value in rows if value not in (None, "")]
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in shown))


def content(value: Any) -> Html:
    """A body, arguments, a result: JSON laid out, other text as it is."""
    if value is None:
        return element("p", "none", class_="none")
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    left = len(text) - MAX_SHOWN
    more = element("p", f"… and {left:,} more characters", class_="none") if left > 0 else None
    return join(element("pre", text[:MAX_SHOWN]), more)


def page(title: str, style: str, *inside: Any, refresh: str = "") -> str:
    again = Html(f'<meta http-equiv="refresh" content="{_escaped(refresh)}">') if refresh else None
    head = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'),
        again,
        element("title", title),
        Html(f"<style>{style}</style>"),
    )
    body = element("body", element("main", *inside))
    return f'<!doctype html><html lang="en"><head>{head.text}</head>{body.text}</html>'


def policy(style: str) -> str:
    """The Content-Security-Policy of a page with this style: nothing but it is let in or done."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _escaped(value: Any) -> str:
    return html.escape(visible(str(value)))
