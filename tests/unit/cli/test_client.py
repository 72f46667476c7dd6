"""The client's failures: each one line that says how to mend it. (Its successes: tests/integration.)"""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from proxy.cli.client import AdminClient, AdminError, read_token


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that takes one connection, answers `reply` and closes."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(timeout=5)


def refusal(url: str, token: str = "") -> AdminError:
    with pytest.raises(AdminError) as refused:
        AdminClient(url, token).route("refunds")
    return refused.value


def test_nothing_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    error = refusal(url)
    assert str(error) == f"nothing listens at {url}; start `crossfade run`, or name the address with --admin"
    assert error.status == 0


def test_a_name_that_does_not_resolve() -> None:
    assert str(refusal("http://crossfade.invalid:9900")).startswith("cannot reach http://crossfade.invalid:9900: ")


@pytest.mark.parametrize("reply", [b"+PONG\r\n", b""])
def test_something_that_speaks_no_http(reply: bytes) -> None:
    with answering(reply) as url:
        assert str(refusal(url)).startswith((f"what answers at {url} speaks no HTTP", f"cannot reach {url}"))


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"302 Found"])
def test_a_web_server_that_is_not_ours(status: bytes) -> None:
    with answering(b"HTTP/1.1 %s\r\ncontent-length: 6\r\nlocation: /x\r\n\r\n<html>" % status) as url:
        assert f"what answers at {url} is not Crossfade's admin API" in str(refusal(url))


def test_a_refusal_is_told_as_the_api_tells_it() -> None:
    body = b'{"error": "not_allowed", "detail": "refunds is paused", "request_id": "1", "allowed": ["resume"]}'
    with answering(b"HTTP/1.1 409 Conflict\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)) as url:
        error = refusal(url)
    assert (str(error), error.status) == ("refunds is paused", 409)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9900", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://u:p@h", "http://h?x=1", ""]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(AdminError, match=r"is no address of an admin API; write it as http://127\.0\.0\.1:9900"):
        AdminClient(url)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ünïcode"])
def test_a_token_that_is_none_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(AdminError, match="the token holds characters that no token has") as refused:
        AdminClient("http://127.0.0.1:1", token)
    assert token not in str(refused.value)


def test_the_token_is_read_from_the_file_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSFADE_TOKEN", raising=False)
    assert read_token(None) == ""
    monkeypatch.setenv("CROSSFADE_TOKEN", " blue\n")
    assert read_token(None) == "blue"
    file = tmp_path / "token"
    file.write_text("red\n")
    assert read_token(str(file)) == "red"


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="cannot be read: No such file or directory"):
        read_token(str(tmp_path / "token"))
