"""The fast rule: the agent is bad for what is normal, and bad for what both arms do now. Both keys must turn."""

from math import log

from proxy.analysis import dumped
from proxy.analysis.block import Block
from proxy.analysis.cusum import Cusum, Kept, alternatives
from proxy.analysis.history import MIN_HISTORY, PRIOR, History


class TwoKeys:
    """The CUSUM against legacy's recent rate, with attribution. With q legacy's rate over n requests (see `History`),
    `ref = q + d + 2 sqrt(q / n)`, d the margin and th an alternative:

    key 1, against the reference: C (see `Cusum`);
    key 2, attribution, with pi the agent's share of the block's requests and `t0 = pi th + (1-pi) q`:
    `A += f_c log(th/t0) + (n_c-f_c) log((1-th)/(1-t0)) + f_l log(q/t0) + (n_l-f_l) log((1-q)/(1-t0))`.

    By the second the agent must do badly compared with what both arms do now, so a fault that both share blames nobody.
    It is wrong with a chance of `blame` each time that the sums begin anew. While both arms fail more often than in
    legacy's last hour the first key is turned all the time, and they begin anew many times: a day of such hours would
    spend `blame` thousands of times. So q is legacy's rate now where that is higher, and A must reach more where
    legacy's own CUSUM says that it is failing too: `log(1 / blame) + History.doubt`.

    Fires when C and A reach their thresholds together.
    """

    __slots__ = ("_blame", "_margin", "cusum", "legacy")

    def __init__(self, margin: float, alpha: float, blame: float, tick: float) -> None:
        self._margin, self._blame = margin, -log(blame)
        self.legacy = History(margin, alpha, tick)
        self.cusum = Cusum(alpha, tick)

    def keep(self) -> tuple[tuple[float, float, float, float, Kept], Kept]:
        """Its state, for `back`."""
        return self.legacy.keep(), self.cusum.keep()

    def back(self, kept: tuple[tuple[float, float, float, float, Kept], Kept]) -> None:
        legacy, cusum = kept
        self.legacy.back(legacy)
        self.cusum.back(cusum)

    def close(self, block: Block, before: Block) -> int:
        """The place of the alternative that fired, the most certain one where several did; -1 where none did."""
        self.legacy.compare(block)
        fired = self._judge(block, before) if self.cusum.look(block) and self.legacy.known else -1
        self.legacy.learn(block)
        return fired

    def may_fire(self, legacy: int, bad: int) -> bool:
        """Whether it could while so many legacy requests are added, by so many bad outcomes of the agent: none of them
        adds more than the reference's logarithm takes away. (What legacy does now only makes the reference higher.)"""
        requests = self.legacy.requests + legacy
        reference = self._margin + (self.legacy.bad + 1) / (requests + PRIOR)
        return requests >= MIN_HISTORY and max(self.cusum.sums) - bad * log(min(reference, 1.0)) >= self.cusum.least

    def score(self) -> float:
        """The way to firing, 0 to 1: the key that lags behind, of the alternative that is ahead."""
        least, blame = self.cusum.threshold, self._blame + self.legacy.doubt
        keys = zip(self.cusum.sums, self.cusum.attribution, strict=True)
        return max(0.0, *(min(c / least, a / blame, 1.0) for c, a in keys))

    def dump(self) -> list[object]:
        return [self.legacy.dump(), self.cusum.dump()]

    def restore(self, data: object, *, history_only: bool) -> None:
        """Go on from what `dump` gave. Raises ValueError on anything else, so on what was dumped before legacy's own
        CUSUM was part of it.

        `history_only`: with all that is known of legacy, and nothing of the agent.
        """
        legacy, cusum = dumped.items(data, 2)
        self.legacy.restore(legacy)
        if not history_only:
            self.cusum.restore(cusum)

    def _judge(self, block: Block, before: Block) -> int:
        rate = self.legacy.rate_now
        reference, blame = self.legacy.reference(rate), self._blame + self.legacy.doubt
        least = self.cusum.threshold
        share = block.agent / (block.agent + block.legacy)
        sums, attribution, fired = self.cusum.sums, self.cusum.attribution, -1
        for index, th in enumerate(alternatives(reference)):
            if not (block.agent_bad or sums[index]):
                continue
            sum_ = self.cusum.add(index, th, reference, block, before)
            if not sum_:
                continue
            attribution[index] += _blamed(block, share, th, rate)
            if sum_ >= least and attribution[index] >= blame:
                fired, least = index, sum_
        return fired


def _blamed(block: Block, share: float, th: float, rate: float) -> float:
    both = share * th + (1 - share) * rate
    bad, legacy_bad = block.agent_bad, block.legacy_bad
    return (
        bad * log(th / both)
        + (block.agent - bad) * log((1 - th) / (1 - both))
        + legacy_bad * log(rate / both)
        + (block.legacy - legacy_bad) * log((1 - rate) / (1 - both))
    )
