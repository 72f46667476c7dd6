"""The store's URL: what it may look like, what of it may be shown, and what it says where there are several hosts.

| URL | what answers there |
|---|---|
| `redis://user:password@host:6379/db`, `unix:///path` | one server |
| `redis+sentinel://user:password@host1:26379,host2:26379/service/db` | Sentinels, who say which server is the master |
| `redis+cluster://user:password@host1:6379,host2:6379` | some nodes of a Cluster, who know the others |

`rediss` instead of `redis` is over TLS. User and password are the servers'; those of the Sentinels, where they ask for
any, are options. Ports, users, passwords and `db` may be left out. What stands in a URL is percent-encoded.
"""

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl

from proxy.config.fields import MASK
from proxy.config.units import UnfitError

FORMS: Final = (
    "embedded, redis://host:port/db, redis+sentinel://host:port,host:port/service, redis+cluster://host:port,host:port,"
    " one of these with rediss, or unix:///path"
)

_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[^/?#\s@,:\[\]]+)(?::\d{1,5})?"
_URL: Final = re.compile(
    r"(?P<scheme>rediss?)(?:\+(?P<kind>sentinel|cluster))?://(?:(?P<who>[^/?#\s]*)@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)?(?P<path>/[^?#\s]*)?(?:\?(?P<query>[^#\s]*))?"
)
_UNIX: Final = re.compile(r"unix://[^?#\s]+(?:\?(?P<query>[^#\s]*))?")
_DB: Final = re.compile(r"/?|/\d{1,5}")
_SERVICE: Final = re.compile(r"/(?P<service>[A-Za-z0-9._-]+)(?P<db>(?:/\d{1,5})?)/?")

_CREDENTIALS: Final = ("username", "password")
_SENTINELS: Final = ("sentinel_username", "sentinel_password")
_TLS: Final = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
_TLS_OF_ONE: Final = ("ssl_ca_path", "ssl_password")
"""redis-py's client of a Cluster does not know these."""

_PORTS: Final = {"sentinel": 26379, "cluster": 6379}


class Hosts(NamedTuple):
    """A URL with several hosts. `plain` is the same as for one server, with the first host: what stands before the `@`,
    the db and the options are read from there. `sentinel_…` are empty where the Sentinels ask for none."""

    kind: Literal["sentinel", "cluster"]
    addresses: tuple[tuple[str, int], ...]
    plain: str
    service: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""


def check_store(store: str) -> str:
    """Raises UnfitError where it is no store that Crossfade knows."""
    if store != "embedded" and not _UNIX.fullmatch(store):
        parse_hosts(store)
    options = _options(store)
    for name, _ in parse_qsl(store.partition("?")[2], keep_blank_values=True):
        if name not in options:
            raise UnfitError(f"has the option {name[:40]!r}, which is none of {', '.join(options)}")
    return store


def parse_hosts(store: str) -> Hosts | None:
    """None where there is one host. Raises UnfitError where it is no URL of a store on the network."""
    if (found := _URL.fullmatch(store)) is None or not found["hosts"]:
        raise UnfitError(f"must be {FORMS}")
    kind, path, query = found["kind"], found["path"] or "", found["query"] or ""
    addresses = tuple(_address(host, _PORTS.get(kind, 6379)) for host in found["hosts"].split(","))
    if kind is None:
        if len(addresses) > 1 or not _DB.fullmatch(path):
            raise UnfitError(
                "must be one host, as in redis://host:port/db; several are redis+sentinel or redis+cluster"
            )
        return None
    service, db = "", path
    if kind == "sentinel":
        if (named := _SERVICE.fullmatch(path)) is None:
            raise UnfitError("names no service; write redis+sentinel://host:port,host:port/service or …/service/db")
        service, db = named["service"], named["db"]
    elif path.strip("/") not in ("", "0"):
        raise UnfitError("names a database, and a Cluster has none; write redis+cluster://host:port,host:port")
    own = dict(parse_qsl(query))
    rest = "&".join(part for part in query.split("&") if part.partition("=")[0] not in _SENTINELS)
    who = f"{found['who']}@" if found["who"] else ""
    plain = f"{found['scheme']}://{who}{found['hosts'].split(',')[0]}{db}{'?' if rest else ''}{rest}"
    return Hosts(
        "sentinel" if kind == "sentinel" else "cluster",
        addresses,
        plain,
        service,
        *(own.get(name, "") for name in _SENTINELS),
    )


def mask_store(store: str) -> str:
    """The store's URL, fit to be shown: users and passwords are masked, in the authority and in the query."""
    return re.sub(r"(?<=://).*@", f"{MASK}@", re.sub(r"((?:password|username)=)[^&]*", rf"\g<1>{MASK}", store))


def _address(text: str, port: int) -> tuple[str, int]:
    host, given = (text, "") if text.endswith("]") else (text.rpartition(":")[::2] if ":" in text else (text, ""))
    number = int(given) if given else port
    if not 1 <= number <= 65535:
        raise UnfitError(f"names the port {number}; there are 1 to 65535")
    return host.strip("[]"), number


def _options(store: str) -> tuple[str, ...]:
    """What may follow its `?`: where it is, who we are, whom we trust. How it is spoken to is Crossfade's own."""
    scheme = store.partition("://")[0]
    cluster = scheme.endswith("+cluster")
    return (
        *(() if cluster else ("db",)),
        *_CREDENTIALS,
        *(_SENTINELS if scheme.endswith("+sentinel") else ()),
        *(_TLS if scheme.startswith("rediss") else ()),
        *(_TLS_OF_ONE if scheme.startswith("rediss") and not cluster else ()),
    )
