"""The commands' way to the admin API: blocking, one request at a time; a failure is a line that says how to mend it."""

import http.client
import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import orjson

from proxy.model.errors import CrossfadeError

DEFAULT: Final = "http://127.0.0.1:9900"
_TIMEOUT: Final = 10.0
_LONG: Final = 1_800.0
_MAX_ANSWER: Final = 64 << 20
_BLOCK: Final = 256 << 10


class AdminError(CrossfadeError):
    """The admin API cannot be reached, or refuses. `status` is 0 where no answer came."""

    def __init__(self, problem: str, *, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


class Exported(NamedTuple):
    """`first` and `last` are ids of pairs: behind the one, up to the other; empty where there are none."""

    first: str
    last: str
    blocks: Iterator[bytes]


class AdminClient:
    """Speaks to the admin API at `url` (`http://host:port`, `https://…`), with a bearer token where there is one."""

    def __init__(self, url: str = DEFAULT, token: str = "") -> None:
        parts = urlsplit(url)
        try:
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or parts.username is not None or parts.query or parts.fragment:
            raise AdminError(f"{url!r} is no address of an admin API; write it as {DEFAULT}")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise AdminError("the token holds characters that no token has; check CROSSFADE_TOKEN or --token-file")
        self._parts, self._token = parts, token
        self.url = url.rstrip("/")

    def routes(self) -> list[dict[str, Any]]:
        routes: list[dict[str, Any]] = self._ask("GET", "/api/v1/routes")["routes"]
        return routes

    def route(self, name: str) -> dict[str, Any]:
        return self._ask("GET", f"/api/v1/routes/{quote(name, safe='')}")

    def command(self, name: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", f"/api/v1/routes/{quote(name, safe='')}/{verb}", body)

    def pairs(self, name: str, **query: str | int | None) -> dict[str, Any]:
        given = urlencode({key: value for key, value in query.items() if value is not None})
        return self._ask("GET", f"/api/v1/routes/{quote(name, safe='')}/pairs?{given}")

    def pair(self, pair_id: str, *, reveal: bool = False) -> dict[str, Any]:
        return self._ask("GET", f"/api/v1/pairs/{quote(pair_id, safe='')}{'?reveal=true' if reveal else ''}")

    @contextmanager
    def export(self, name: str, **query: str | None) -> Iterator["Exported"]:
        """The pairs of a route as JSON Lines, as they come."""
        given = urlencode({key: value for key, value in query.items() if value is not None})
        connection = self._connection()
        try:
            response = self._begin(connection, "GET", f"/api/v1/routes/{quote(name, safe='')}/pairs/export?{given}")
            if response.status != 200:
                self._read(response.status, response.read(_MAX_ANSWER + 1))
            ends = (response.getheader("x-crossfade-first", ""), response.getheader("x-crossfade-last", ""))
            yield Exported(*ends, self._blocks(response))
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(self._unreached(error)) from error
        finally:
            connection.close()

    def explain(self, name: str, key: bytes) -> dict[str, Any]:
        return self._ask("POST", f"/api/v1/routes/{quote(name, safe='')}/explain", _key(key))

    def erase(self, key: bytes, body: dict[str, Any]) -> dict[str, Any]:
        """It answers when all is done."""
        return self._ask("POST", "/api/v1/erasures", {**_key(key), **body}, timeout=_LONG)

    def outcomes(self, outcomes: list[Any]) -> dict[str, Any]:
        return self._ask("POST", "/api/v1/outcomes", {"outcomes": outcomes})

    def history(self, name: str, limit: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self._list(name, "history", limit)["events"]
        return events

    def evidence(self, name: str, limit: int) -> list[dict[str, Any]]:
        stages: list[dict[str, Any]] = self._list(name, "evidence", limit)["evidence"]
        return stages

    def escalations(self, name: str, **query: str | int | None) -> dict[str, Any]:
        given = urlencode({key: value for key, value in query.items() if value is not None})
        return self._ask("GET", f"/api/v1/routes/{quote(name, safe='')}/escalations?{given}")

    def escalation(self, name: str, escalation_id: str) -> dict[str, Any]:
        return self._ask("GET", f"/api/v1/escalations/{quote(name, safe='')}/{quote(escalation_id, safe='')}")

    def reload(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", "/api/v1/config/reload", body)

    def _list(self, name: str, what: str, limit: int) -> dict[str, Any]:
        return self._ask("GET", f"/api/v1/routes/{quote(name, safe='')}/{what}?limit={limit}")

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = _TIMEOUT
    ) -> dict[str, Any]:
        connection = self._connection(timeout)
        try:
            response = self._begin(connection, method, path, body)
            answer = response.read(_MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(self._unreached(error)) from error
        finally:
            connection.close()
        return self._read(response.status, answer)

    def _begin(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, Any] | None = None
    ) -> http.client.HTTPResponse:
        headers = {"accept": "application/json", "content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = orjson.dumps(body) if body is not None else None
        connection.request(method, self._parts.path.rstrip("/") + path, body=data, headers=headers)
        return connection.getresponse()

    def _blocks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Raises AdminError where the answer breaks off."""
        try:
            while block := response.read1(_BLOCK):
                yield block
        except http.client.IncompleteRead as error:
            raise AdminError(f"{self.url} ended the answer in the middle; its log says why") from error
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(self._unreached(error)) from error

    def _connection(self, timeout: float = _TIMEOUT) -> http.client.HTTPConnection:
        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def _unreached(self, error: Exception) -> str:
        match error:
            case ConnectionRefusedError():
                return f"nothing listens at {self.url}; start `crossfade run`, or name the address with --admin"
            case TimeoutError():
                return f"{self.url} did not answer in time"
            case http.client.HTTPException():
                return f"what answers at {self.url} speaks no HTTP; name the admin API's address with --admin"
            case _:
                return f"cannot reach {self.url}: {getattr(error, 'strerror', None) or error}"

    def _read(self, status: int, answer: bytes) -> dict[str, Any]:
        try:
            document = orjson.loads(answer) if len(answer) <= _MAX_ANSWER else None
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict) or (status >= 400 and "error" not in document):
            raise AdminError(
                f"what answers at {self.url} is not Crossfade's admin API (status {status}); name it with --admin",
                status=status,
            )
        if status >= 400:
            raise AdminError(_refusal(status, document), status=status)
        return document


def read_token(file: str | None) -> str:
    """The token of `--token-file`, else of CROSSFADE_TOKEN, else none. Never an argument: those show in `ps`. Raises
    AdminError where the file cannot be read."""
    if file is None:
        return os.environ.get("CROSSFADE_TOKEN", "").strip()
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AdminError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _key(key: bytes) -> dict[str, Any]:
    """A targeting key in a body. It is personal, and a URL may be logged on its way."""
    try:
        return {"key": key.decode()}
    except UnicodeDecodeError:
        return {"key_base64": b64encode(key).decode()}


def _refusal(status: int, document: dict[str, Any]) -> str:
    detail = str(document.get("detail") or document["error"])
    if status == 401:
        return "the admin API wants a token, or does not know this one; set CROSSFADE_TOKEN or --token-file"
    if problems := document.get("problems"):
        return "\n".join(problems) if len(problems) > 1 else detail
    return detail
