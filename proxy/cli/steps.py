"""What an agent did with one request, as a tree: each step below the one that made it."""

from typing import Any, Final

import orjson
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from proxy.cli.parts import took
from proxy.telemetry.visible import visible

_STYLES: Final = {"agent": "bold", "tool": "cyan", "model": "magenta", "reasoning": "italic", "other": "dim"}
_MAX_CONTENT: Final = 400
"""Characters of arguments and of a result; `--json` has all that was kept."""


def steps_tree(steps: list[dict[str, Any]], totals: dict[str, Any]) -> RenderableType:
    """`steps` and `step_totals` of a pair, whose shapes `proxy.outcomes.steps` has."""
    root = Tree(Text(summary(totals)), guide_style="dim")
    branches: dict[str | None, Tree] = {}
    # In the order of time a step may stand before the one that made it, where two clocks made them.
    for step in sorted(steps, key=lambda each: each["depth"]):
        branches[step["id"]] = branches.get(step["parent"], root).add(_step(step))
    return root


def summary(totals: dict[str, Any]) -> str:
    """`3 calls of tools (1 wrote), 1 of models, 120 + 30 tokens, 1 failed`."""
    tokens = totals["tokens"]
    said = f"{totals['tool_calls']} calls of tools ({totals['writes']} wrote), {totals['model_calls']} of models"
    said += f", {tokens['input']:,} + {tokens['output']:,} tokens"
    said += f", {totals['errors']} failed" if totals["errors"] else ""
    return said + (f", {totals['left_out']} more steps were too many" if totals["left_out"] else "")


def _step(step: dict[str, Any]) -> RenderableType:
    line = Text.assemble((step["kind"], _STYLES.get(step["kind"], "")), " ", visible(step["name"]))
    line.append(f"  {took(step['duration'])}", "dim")
    if step["model"]:
        line.append(f"  {visible(step['model'])}", "dim")
    if tokens := step["tokens"]:
        line.append(f"  {tokens['input']:,} + {tokens['output']:,} tokens", "dim")
    if step["writes"]:
        line.append("  wrote", "bold yellow")
    if step["error"]:
        line.append(f"  {visible(step['error'])}", "red")
    shown = [_content(name, step[name]) for name in ("arguments", "result") if step[name] is not None]
    return Group(line, *shown) if shown else line


def _content(name: str, value: Any) -> Text:
    text = visible(value if isinstance(value, str) else orjson.dumps(value).decode())
    cut = f"{text[:_MAX_CONTENT]}…" if len(text) > _MAX_CONTENT else text
    return Text.assemble((f"{name}: ", "dim"), cut)
