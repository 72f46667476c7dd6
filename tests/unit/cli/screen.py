"""What a terminal shows."""

from typing import Any

from rich.console import Console


def shown(renderable: Any, *, width: int = 80) -> list[list[str]]:
    """The lines, each split where two spaces part columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines(renderable, width=width)]


def lines(renderable: Any, *, width: int = 80) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]
