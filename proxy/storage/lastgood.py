"""The last configuration that was put to work, and where the rollouts stood then: what a worker serves by that starts
while the control process is away.

One file, replaced as a whole, for this user alone. It holds the configuration's text as written, with its `${...}`
unresolved, so no secret that is not in the operator's own file.
"""

import os
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from proxy.model.errors import CrossfadeError
from proxy.model.snapshot import Placement, Snapshot

_log = structlog.get_logger()

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class LastGood:
    """`number` is that of the snapshot made of it, `file` the configuration's name in errors. `digests` are those of
    the certificates and keys that it was put to work with, by file (see `certificates`)."""

    number: int
    file: str
    text: str
    placements: dict[str, Placement]
    digests: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


@cache
def _adapter() -> TypeAdapter[LastGood]:
    return TypeAdapter(LastGood)


def write(data_dir: Path, good: LastGood) -> None:
    """Keep it. Raises OSError."""
    path = _path(data_dir)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = orjson.dumps(asdict(good), option=orjson.OPT_INDENT_2)
    fd, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(fd, "wb") as opened:
            opened.write(document)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def find(data_dir: Path) -> LastGood | None:
    """What was kept; None, and a line in the log, where there is nothing that can be used."""
    path = _path(data_dir)
    try:
        kept = _adapter().validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.error("last_good_unusable", path=str(path), problem=error.strerror)
        return None
    except ValidationError as error:
        _log.error("last_good_unusable", path=str(path), problem=f"is damaged in {error.error_count()} places")
        return None
    if kept.format != FORMAT:
        _log.error("last_good_unusable", path=str(path), problem=f"has format {kept.format}, this one reads {FORMAT}")
        return None
    return kept


def read(data_dir: Path) -> Snapshot | None:
    """The snapshot to serve by without a control process; None, and a line in the log, where there is none.

    It gives no more traffic to the agent than was given last. References are resolved, and certificates read, as they
    stand now.
    """
    # Imported when needed: it is rare, and would cost each worker 10 MiB and its start a third.
    from proxy.config.compile import compile_snapshot  # noqa: PLC0415
    from proxy.config.load import load  # noqa: PLC0415
    from proxy.storage.certificates import digests  # noqa: PLC0415

    kept = find(data_dir)
    if kept is None:
        return None
    try:
        config = load(kept.text, kept.file, os.environ, read_text)
        return compile_snapshot(config, kept.placements, kept.number, digests(config))
    except (CrossfadeError, KeyError) as error:
        _log.error("last_good_unusable", path=str(_path(data_dir)), problem=str(error))
        return None


def read_text(path: str) -> str:
    """What `${file:...}` stands for."""
    return Path(path).read_text(encoding="utf-8")


def _path(data_dir: Path) -> Path:
    return data_dir / "last-good" / "configuration.json"
