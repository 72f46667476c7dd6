"""What others sent is text on a page, whatever it looks like."""

import base64
import hashlib
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.markup import MAX_SHOWN, content, element, join, names, page, policy


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def tags(text: str) -> list[str]:
    parser = Tags()
    parser.feed(text)
    return parser.tags


@given(st.text())
def test_no_text_becomes_an_element_or_an_attribute(text: str) -> None:
    assert tags(element("p", text, class_=text).text) == ["p"]
    assert tags(join(text, text).text) == []
    assert tags(content({text: [text]}).text) == ["pre"]


def test_what_would_not_be_seen_is_written_out() -> None:
    assert join("a\u202eb\x00c\u200bd\x1b[31m").text == "a\\u202eb\\u0000c\\u200bd\\u001b[31m"
    assert join("line\n\ttab 👩\u200d⚕️").text == "line\n\ttab 👩\u200d⚕️"


def test_what_is_long_is_cut_and_says_so() -> None:
    shown = content("x" * (MAX_SHOWN + 5)).text
    assert shown.count("x") == MAX_SHOWN
    assert "… and 5 more characters" in shown


def test_rows_without_a_value_are_left_out() -> None:
    assert names([("a", None), ("b", ""), ("c", 0)]).text == "<dl><div><dt>c</dt><dd>0</dd></div></dl>"


def test_of_styles_only_the_page_s_own_is_let_in() -> None:
    digest = base64.b64encode(hashlib.sha256(b"p{color:red}").digest()).decode()
    assert policy("p{color:red}").startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


def test_a_page_that_looks_again() -> None:
    assert '<meta http-equiv="refresh" content="1;url=/a?b=&quot;&amp;c=1">' in page(
        "t", "", refresh='1;url=/a?b="&c=1'
    )
