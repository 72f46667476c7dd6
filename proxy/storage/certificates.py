"""The certificates and keys that a configuration names, as they stand on disk. Nothing that is in them is kept but a
digest, which tells whether one was renewed."""

import hashlib
from pathlib import Path
from typing import Final

from proxy.config.compile import tls_files
from proxy.config.schema import Config
from proxy.model.errors import ConfigError

MAX_SIZE: Final = 4 << 20
"""Bytes of one file. The CAs of a whole system are a quarter of a MiB."""


def digests(config: Config) -> dict[str, str]:
    """File -> digest of its content, in hex, for each of `tls_files`. Raises ConfigError, which knows a problem for
    each file that cannot be read, with the path of the key that names it."""
    found: dict[str, str] = {}
    problems: list[ConfigError] = []
    for path, file in tls_files(config).items():
        try:
            found[file] = hashlib.blake2b(_read(file), digest_size=16).hexdigest()
        except OSError as error:
            reason = error.strerror or "it is no readable file"
            problems.append(ConfigError(f"{file} cannot be read: {reason}", path=path))
    if problems:
        raise ConfigError.joined(problems)
    return found


def _read(file: str) -> bytes:
    with Path(file).open("rb") as opened:
        content = opened.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise OSError(0, f"it is longer than {MAX_SIZE >> 20} MiB")
    return content
