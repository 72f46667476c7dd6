"""What the sequential tests take: the counts of one stretch of time."""

from typing import NamedTuple


class Block(NamedTuple):
    """Requests of each arm that arrived within `elapsed` seconds, and those of them that were bad.

    `looks`: of how many stretches in which both arms were seen it was put together (see `plus`). A rule that may be
    wrong once in so many looks is not given more of them by what was joined only to save work.

    `pending`: of legacy's bad ones, those that are open and only supposed to be bad.
    """

    elapsed: float = 0.0
    agent: int = 0
    agent_bad: int = 0
    legacy: int = 0
    legacy_bad: int = 0
    looks: int = 0
    pending: int = 0

    def plus(self, other: "Block") -> "Block":
        return Block(
            self.elapsed + other.elapsed,
            self.agent + other.agent,
            self.agent_bad + other.agent_bad,
            self.legacy + other.legacy,
            self.legacy_bad + other.legacy_bad,
            self.looks + other.looks,
            self.pending + other.pending,
        )

    def since(self, start: "Block") -> "Block":
        """What came after `start`, where both were counted from the same moment."""
        return Block(
            self.elapsed - start.elapsed,
            self.agent - start.agent,
            self.agent_bad - start.agent_bad,
            self.legacy - start.legacy,
            self.legacy_bad - start.legacy_bad,
            self.looks - start.looks,
            self.pending - start.pending,
        )


NOTHING = Block()
