"""Which build is found, when none is, and that it is all of the modules or none."""

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from proxy.gateway import compile as compiling
from proxy.gateway import compiled

LIBRARY = f"abc__mypyc{compiled.SUFFIX}"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, and nothing built yet."""
    root = tmp_path / "sources"
    shutil.copytree(compiled.ROOT / "proxy", root / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "ROOT", root)
    monkeypatch.setattr(compiled, "BUILDS", tmp_path / "builds")
    return root


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has imported none of the modules, nor a build."""
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for module in compiled.MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)


def pretend(build: Path) -> None:
    """Files that are named like those of a build."""
    for name in (LIBRARY, *(module.replace(".", "/") + compiled.SUFFIX for module in compiled.MODULES)):
        file = build / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("no machine code")


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "\n# edited\n")


# --- which build


@pytest.mark.parametrize(
    "file",
    ["gateway/exchange.py", "routing/decide.py", "analysis/breaker.py", "model/snapshot.py", "gateway/compile.py"],
)
def test_another_source_asks_for_another_build(root: Path, file: str) -> None:
    before = compiled.directory()

    edit(root / "proxy" / file)

    assert compiled.directory() != before


def test_what_is_not_compiled_changes_nothing(root: Path) -> None:
    before = compiled.directory()

    edit(root / "proxy" / "gateway" / "worker.py")
    edit(root / "proxy" / "control" / "hub.py")

    assert compiled.directory() == before


# --- when none is used


@pytest.mark.usefixtures("root", "fresh")
def test_without_a_build() -> None:
    before = list(sys.meta_path)

    assert compiled.install() == "there is no build of these sources: make setup"
    assert sys.meta_path == before


@pytest.mark.usefixtures("fresh")
def test_an_edited_source_falls_back(root: Path) -> None:
    pretend(compiled.directory())
    edit(root / "proxy" / "gateway" / "turn.py")

    assert compiled.install() == "there is no build of these sources: make setup"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("value", ["1", ""])
def test_it_can_be_turned_off(root: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    pretend(compiled.directory())
    monkeypatch.setenv(compiled.SWITCH, value)

    assert compiled.install() == "CROSSFADE_PURE is set"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("missing", ["proxy/gateway/turn" + compiled.SUFFIX, LIBRARY])
def test_a_part_of_a_build_is_none(root: Path, missing: str) -> None:
    pretend(compiled.directory())
    (compiled.directory() / missing).unlink()

    assert compiled.install() == "there is no build of these sources: make setup"


@pytest.mark.usefixtures("fresh")
def test_too_late_is_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(compiled.directory())
    monkeypatch.setitem(sys.modules, "proxy.gateway.turn", sys)

    assert compiled.install() == "proxy.gateway.turn was imported before"


@pytest.mark.usefixtures("fresh")
def test_a_damaged_build_falls_back(root: Path) -> None:
    pretend(compiled.directory())
    before = list(sys.meta_path)

    reason = compiled.install()

    assert reason is not None
    assert reason.startswith("the build does not load: ")
    assert sys.meta_path == before


# --- all or none


def test_all_modules_are_of_one_kind() -> None:
    """The kind that these tests run in: see `tests.compiled`."""
    asked = any(isinstance(finder, compiled.Finder) for finder in sys.meta_path)

    kinds = {str(import_module(module).__file__).endswith(compiled.SUFFIX) for module in compiled.MODULES}

    assert kinds == {asked}


# --- making one


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """mypyc's stand-in, which is quick: the projects that it was given."""
    given: list[Path] = []

    def run(project: Path) -> None:
        given.append(project)
        pretend(project)

    monkeypatch.setattr(compiling, "_run_mypyc", run)
    monkeypatch.setattr(compiling, "check", lambda: None)
    return given


def test_a_build_is_made_once(root: Path, compiler: list[Path]) -> None:
    compiling.ensure()
    compiling.ensure()

    build = compiled.directory()
    assert len(compiler) == 1
    assert compiled.Finder(build).complete
    assert compiled.Finder(build).library == "abc__mypyc"
    assert not list(build.rglob("*.py"))


def test_it_replaces_the_build_of_other_sources(root: Path, compiler: list[Path]) -> None:
    compiling.ensure()
    edit(root / "proxy" / "gateway" / "turn.py")

    compiling.ensure()

    assert [path for path in compiled.BUILDS.iterdir() if path.is_dir()] == [compiled.directory()]


def test_another_mypy_makes_it_anew(root: Path, compiler: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    compiling.ensure()
    monkeypatch.setattr(compiling, "version", lambda _: "99.0")

    compiling.ensure()

    assert len(compiler) == 2
    assert compiled.Finder(compiled.directory()).complete


def test_what_is_edited_meanwhile_has_no_build(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(project: Path) -> None:
        edit(root / "proxy" / "gateway" / "turn.py")
        pretend(project)

    monkeypatch.setattr(compiling, "_run_mypyc", run)
    monkeypatch.setattr(compiling, "check", lambda: None)

    compiling.ensure()

    assert not compiling.is_fresh()


def test_a_source_that_mypyc_refuses_says_where(root: Path) -> None:
    (root / "proxy" / "gateway" / "turn.py").write_text("def broken(:\n")

    with pytest.raises(compiling.CannotCompileError, match=r"proxy/gateway/turn\.py:1: error"):
        compiling.ensure()

    assert [path for path in compiled.BUILDS.iterdir() if path.is_dir()] == []


def test_without_a_compiler_it_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O1")

    with pytest.raises(SystemExit, match=r"^not compiled, .* there is no C compiler 'no-such-compiler'"):
        compiling.main(["--check"])


def test_what_is_made_already_needs_no_compiler(
    root: Path, compiler: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling.ensure()
    monkeypatch.setattr(compiling, "check", _fail)

    compiling.main(["--check"])
    compiling.main([])


def _fail() -> None:
    raise compiling.CannotCompileError("no compiler")


@pytest.mark.parametrize("module", ["mypyc", "setuptools"])
def test_without_its_tools_it_says_so(root: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(SystemExit, match=f"^not compiled, .*: {module} is not installed"):
        compiling.main(["--check"])


# --- in a worker


@pytest.mark.parametrize("pure", [True, False])
def test_a_worker_says_which_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pure: bool) -> None:
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    if pure:
        monkeypatch.setenv(compiled.SWITCH, "1")
    arguments = [
        "--number",
        "1",
        "--fd",
        "0",
        "--data-dir",
        str(tmp_path),
        "--link",
        str(tmp_path / "link"),
        "--wait",
        "0",
    ]

    ran = subprocess.run(
        [sys.executable, "-m", "proxy.gateway.worker", *arguments], capture_output=True, text=True, check=False
    )

    line = next(line for line in ran.stderr.splitlines() if '"hot_path"' in line)
    assert ('"compiled":true' in line) == (not pure and compiling.is_fresh())
    assert ('"reason":"CROSSFADE_PURE is set"' in line) == pure
