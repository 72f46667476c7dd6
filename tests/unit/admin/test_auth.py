"""Tokens: who a token belongs to, and which files are refused."""

import hashlib
import os
from pathlib import Path

import pytest
import structlog

from proxy.admin.auth import Caller, Role, Tokens
from proxy.model.errors import ConfigError


def line(name: str, role: str, token: str) -> str:
    return f"{name} {role} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"


def write(file: Path, text: str, *, mode: int = 0o600, at: int = 0) -> Path:
    """Write `file` anew, as a deployment does; `at` sets its time, so that a change shows on any file system."""
    file.write_text(text)
    file.chmod(mode)
    os.utime(file, ns=(at, at))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    text = "# who may\n\n" + line("ana", "viewer", "red") + line("bo", "operator", "blue").strip() + "  # on call\n"
    return write(tmp_path / "tokens", text)


def test_a_token_tells_its_name_and_role(file: Path) -> None:
    tokens = Tokens(file)
    assert tokens.find("red") == Caller("ana", Role.VIEWER)
    assert tokens.find("blue") == Caller("bo", Role.OPERATOR)


@pytest.mark.parametrize("token", ["", "green", "Red", "red ", hashlib.sha256(b"red").hexdigest(), "\udcff"])
def test_anything_else_is_no_token(file: Path, token: str) -> None:
    assert Tokens(file).find(token) is None


def test_the_file_is_read_again_when_it_changes(file: Path) -> None:
    tokens = Tokens(file)
    write(file, line("cy", "viewer", "green"), at=1)
    assert tokens.find("green") == Caller("cy", Role.VIEWER)
    assert tokens.find("red") is None


@pytest.mark.parametrize("text", ["nonsense\n", ""])
def test_a_change_that_cannot_be_used_changes_nothing_and_is_logged_once(file: Path, text: str) -> None:
    tokens = Tokens(file)
    write(file, text, at=1)
    with structlog.testing.capture_logs() as logged:
        assert tokens.find("red") == Caller("ana", Role.VIEWER)
        assert tokens.find("red") == Caller("ana", Role.VIEWER)
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("tokens_not_reloaded", "error")]


def test_a_file_that_goes_away_leaves_the_tokens_and_is_logged(file: Path) -> None:
    tokens = Tokens(file)
    file.unlink()
    with structlog.testing.capture_logs() as logged:
        assert tokens.find("red") is not None
    assert "No such file" in logged[0]["detail"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ana viewer red\n", r":1: write `name role sha256:<64 hex digits>`"),
        ("#\nana viewer sha256:abcd\n", r":2: write `name role"),
        (line("ana", "admin", "red"), r":1: no role 'admin'; write viewer, operator, reporter or agent"),
        (line("a/b", "viewer", "red"), r":1: write `name role"),
        (line("ana", "viewer", "red") + line("ana", "viewer", "blue"), r":2: the name or the token of 'ana'"),
        (line("ana", "viewer", "red") + line("bo", "viewer", "red"), r":2: the name or the token of 'bo'"),
        ("# nobody\n", "holds no token"),
        ("#" * (1 << 20) + "\n", "is over 1 MiB"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Tokens(write(tmp_path / "tokens", text))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_file_that_everyone_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = write(tmp_path / "tokens", line("ana", "viewer", "red"), mode=mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*; run chmod 600 {file}"):
        Tokens(file)


def test_a_file_that_a_group_may_read_is_not(tmp_path: Path) -> None:
    """As a Kubernetes secret with fsGroup is mounted."""
    assert Tokens(write(tmp_path / "tokens", line("ana", "viewer", "red"), mode=0o440)).find("red")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        Tokens(tmp_path / "tokens")


def test_the_hash_alone_stands_in_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        Tokens(write(tmp_path / "tokens", "ana viewer plain-secret\n"))
    assert "plain-secret" not in str(refused.value)
