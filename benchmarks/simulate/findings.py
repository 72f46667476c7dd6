"""What a topic found: a table whose rows stand beside their goals, and the words for shares and times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, inf, isinf, lgamma, log, log1p
from statistics import median

from benchmarks.page import NONE, markdown

MET, NOT_MET = "met", "**not met**"
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. `goal` is empty where there is none; `met` is None then."""

    cells: tuple[str, ...]
    goal: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Findings:
    """A table with its title, and what a reader must know of it. The columns `what` and `when` name its rows."""

    title: str
    about: str
    headings: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)

    def add(self, *cells: str, goal: str = "", met: bool | None = None) -> None:
        self.rows.append(Row(cells, goal, met))

    @property
    def missed(self) -> list[str]:
        """The goals that are not met, a line for each."""
        words = self.headings.index("when") + 1 if "when" in self.headings else 1
        return [
            f"{self.title}: {', '.join(row.cells[:words])}; the goal is {row.goal}"
            for row in self.rows
            if row.met is False
        ]

    def markdown(self) -> str:
        cells = [(*row.cells, row.goal or NONE, _verdict(row.met)) for row in self.rows]
        return f"**{self.title}**\n\n{self.about}\n\n{markdown((*self.headings, 'goal', 'verdict'), cells)}"


def _verdict(met: bool | None) -> str:
    return NONE if met is None else MET if met else NOT_MET


def share(hits: int, runs: int) -> str:
    """`3 of 1,000`."""
    return f"{hits:,} of {runs:,}"


def bounded(hits: int, runs: int) -> str:
    """The share, and what it is at most with 95 % confidence."""
    return f"{share(hits, runs)} (at most {upper(hits, runs):.2%})"


def few_enough(hits: int, runs: int, goal: float) -> bool:
    """Whether a share may be at most `goal`: so many hits come up in at least 5 of 100 simulations where it just is."""
    return hits <= goal * runs or 1 - _at_most(hits - 1, runs, goal) >= 1 - _CONFIDENCE


def upper(hits: int, runs: int) -> float:
    """Upper bound of a share, exact at 95 % (Clopper and Pearson 1934), by bisection."""
    if hits >= runs:
        return 1.0
    low, high = hits / runs, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(hits, runs, middle) > 1 - _CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, runs: int, chance: float) -> float:
    """The chance of so few hits."""
    return sum(
        exp(lgamma(runs + 1) - lgamma(k + 1) - lgamma(runs - k + 1) + k * log(chance) + (runs - k) * log1p(-chance))
        for k in range(hits + 1)
    )


class Hits:
    """Of how many runs each rule rolled back, which it ought not."""

    def __init__(self, rules: Iterable[str]) -> None:
        self.hits = dict.fromkeys(rules, 0)
        self.runs = dict.fromkeys(self.hits, 0)

    def add(self, rule: str, hit: bool) -> None:
        self.hits[rule] += hit
        self.runs[rule] += 1

    def add_all(self, other: "Hits") -> None:
        for rule in self.hits:
            self.hits[rule] += other.hits[rule]
            self.runs[rule] += other.runs[rule]

    def cells(self) -> list[str]:
        return [share(hits, self.runs[rule]) for rule, hits in self.hits.items()]

    def against(self, found: Findings, goal: float, what: str, rule: str) -> None:
        """Add a row in which one of the rules stands against a goal."""
        hits, runs = self.hits[rule], self.runs[rule]
        cells = {**dict(zip(self.hits, self.cells(), strict=True)), rule: bounded(hits, runs)}
        found.add(what, *cells.values(), goal=f"{rule}: at most {goal:.1%}", met=few_enough(hits, runs, goal))


@dataclass(slots=True)
class Times:
    """Of many runs with a fault: how long after it each was rolled back (seconds). Those before it are apart."""

    limit: float
    early: int = 0
    after: list[float] = field(default_factory=list)

    def add(self, fired: float | None, fault: float) -> None:
        """When a run was rolled back, None for never, and when its fault began."""
        if fired is not None and fired <= fault:
            self.early += 1
        else:
            self.after.append(inf if fired is None else fired - fault)

    @property
    def median(self) -> float:
        """Infinite where most runs were not rolled back within the limit, or none was still running at the fault."""
        return median(self.after) if self.after else inf

    def __str__(self) -> str:
        runs = self.early + len(self.after)
        if 2 * self.early > runs:
            return "before the fault"
        said = f"not in {self.limit / 60:,.0f} min" if isinf(self.median) else seconds(self.median)
        return f"{said}, {share(self.early, runs)} before" if self.early else said


def seconds(value: float) -> str:
    return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"


def join(topics: Sequence[Findings]) -> str:
    """All tables, and the goals that are not met."""
    missed = [line for topic in topics for line in topic.missed]
    met = sum(row.met is True for topic in topics for row in topic.rows)
    end = f"Goals: {met} met, {len(missed)} not met" + ("." if not missed else ":\n\n")
    return "\n\n".join([*(topic.markdown() for topic in topics), end + "\n".join(f"- {line}" for line in missed)])
