import io
from typing import Any

from rich.console import Console

from proxy.cli.steps import steps_tree

TOTALS: dict[str, Any] = {
    "steps": 2, "tool_calls": 1, "model_calls": 0, "writes": 1, "errors": 1, "tokens": {"input": 1200, "output": 30},
    "left_out": 0,
}  # fmt: skip


def step(number: int, parent: str | None, depth: int, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("model", "tokens", "arguments", "result", "writes", "error"))
    return {
        "id": f"s{number}", "parent": parent, "depth": depth, "kind": "tool", "name": f"t{number}", "duration": 0.25,
        **empty, **fields,
    }  # fmt: skip


def shown(*steps: dict[str, Any], **totals: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(steps_tree(list(steps), TOTALS | totals))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_step_stands_below_the_one_that_made_it() -> None:
    text = shown(step(2, "s1", 1, writes=True, arguments={"order": 7}), step(1, None, 0, kind="agent", error="E: no"))
    assert text.splitlines() == [
        "1 calls of tools (1 wrote), 0 of models, 1,200 + 30 tokens, 1 failed",
        "└── agent t1  250 ms  E: no",
        "    └── tool t2  250 ms  wrote",
        '        arguments: {"order":7}',
    ]


def test_what_a_span_says_cannot_write_to_the_terminal() -> None:
    text = shown(step(1, None, 0, name="\x1b[2J[red]x", result="a\x1b]0;b\x07"))
    assert "\x1b" not in text
    assert "[red]x" in text


def test_long_contents_are_cut() -> None:
    assert len(shown(step(1, None, 0, result="x" * 5000))) < 1000


def test_what_was_too_much_is_told() -> None:
    assert "7 more steps were too many" in shown(left_out=7)
