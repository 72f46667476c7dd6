"""The hot path as machine code, where there is a build of exactly these sources. Everything runs without one.

`make setup` makes a build with mypyc (see `compile`) out of the modules below, the same sources that run otherwise. The
rules of this file:

- A build is found by the hash of all that it was made of. So a source that was edited, or another Python, means no
  build, never a wrong one.
- All of the modules come from the build, or none: compiled code checks for its own classes, not for their pure twins.
- Whoever wants it says so (`install`) before the first of the modules is imported, and is told why where it cannot be.

What to mind in the modules themselves: mypyc believes mypy. Where mypy has narrowed an attribute to None, compiled code
raises TypeError after a call that has set it; ask by a method there, as `reader` does. And a value of a class that is
compiled must be of that class: a stand-in that only looks like it is refused. A name in one function has one type, that
of an `except ... as` too. And a Final tuple of floats had no value with mypy 2.4: write its parts.
"""

import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BUILDS: Final = Path(sys.prefix, "crossfade-compiled")
"""A directory for each build. It goes when the virtual environment goes."""

SWITCH: Final = "CROSSFADE_PURE"
"""The environment variable that turns it off, whatever its value."""

SUFFIX: Final = EXTENSION_SUFFIXES[0]
"""How a compiled module's file ends, as in `.cpython-311-x86_64-linux-gnu.so`: it names Python, ABI and machine."""

MODULES: Final = tuple(
    f"proxy.{name}"
    for name in (
        "analysis.breaker", "gateway.accounts", "gateway.answers", "gateway.attempts", "gateway.connection",
        "gateway.context", "gateway.copies", "gateway.counters", "gateway.downstream", "gateway.evidence",
        "gateway.exchange", "gateway.fallback", "gateway.forwarded", "gateway.framing", "gateway.head",
        "gateway.headers", "gateway.health", "gateway.parcels", "gateway.reader", "gateway.recording",
        "gateway.reply", "gateway.request", "gateway.service", "gateway.shadow", "gateway.shared",
        "gateway.table", "gateway.tunnel", "gateway.turn", "gateway.upstream", "routing.bucket",
        "routing.decide", "routing.identity", "routing.match",
    )
)  # fmt: skip
"""What requests pass through. Not `worker`, which is run by `-m`, nor the link, which works by the tick."""


def sources(root: Path) -> list[Path]:
    """The files of the modules."""
    return [root.joinpath(*module.split(".")).with_suffix(".py") for module in MODULES]


def directory(root: Path | None = None) -> Path:
    """Where the build of the sources is, or would be: of these here, or of a copy of them in `root`."""
    root = root or ROOT
    model = sorted(root.joinpath("proxy", "model").glob("*.py"))  # its constants and types are compiled in
    how = root.joinpath("proxy", "gateway", "compile.py")
    digest = sha256(SUFFIX.encode())
    for file in (*sources(root), *model, how):
        digest.update(b"%b\0%b\0" % (file.name.encode(), file.read_bytes()))
    return BUILDS / digest.hexdigest()[:16]


class Finder:
    """Finds the modules of a build: goes into `sys.meta_path`. `files` is their files by name, mypyc's own shared
    library among them; empty where there is no build."""

    def __init__(self, build: Path) -> None:
        found = build.rglob("*" + SUFFIX)
        self.files = {".".join(file.relative_to(build).parts).removesuffix(SUFFIX): file for file in found}

    @property
    def complete(self) -> bool:
        return self.files.keys() > set(MODULES)

    @property
    def library(self) -> str:
        """The module that holds all the code; the others only point into it."""
        return next(iter(self.files.keys() - set(MODULES)))

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.files.get(name)
        if file is None:
            return None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))


def install() -> str | None:
    """Let the modules come from the build when they are imported. None where they will; else the reason why they are
    pure Python, as a part of a sentence."""
    if SWITCH in os.environ:
        return f"{SWITCH} is set"
    early = [module for module in MODULES if module in sys.modules]
    if early:
        return f"{early[0]} was imported before"
    finder = Finder(directory())
    if not finder.complete:
        return "there is no build of these sources: make setup"
    sys.meta_path.insert(0, finder)
    try:
        import_module(finder.library)
    except ImportError as error:  # made for another machine, or damaged
        sys.meta_path.remove(finder)
        return f"the build does not load: {error}"
    return None
