"""Late decisions in the store: the inbox where they wait, and what they make of the pairs that they belong to.

The way of a decision: `put` keeps it in the inbox (`outcomes`), and so does WRITE_BATCH with one that was read in
passing; from then on it is not lost. The replica that leads reads the inbox, finds the pairs by the decision's ref, and
settles them: one script writes what became of each pair, moves its evidence and takes the decision out of the inbox, or
does none of it. One whose pair is not there yet goes to `early:<ref>`, from where WRITE_BATCH hands it back to the inbox
when the pair comes.

The rule: each entry of the inbox takes effect once, whoever reads it and however often. A settling names what it found
(the digest of `closed:<pair>`), and is refused where that has changed or the entry is gone.

`closed:<pair>` is what decisions made of a pair that was open, as JSON, sealed like the pair itself (about its route):

    {verdict,          `matched`, `mismatched`, `incomparable`, `expired`; null where the agent was not asked
     verdict_reason,   a sentence, or empty
     legacy_decision,  the human's decision that counts, as it may be shown; null where none came in time
     differences,      [{path, legacy, agent}], as a pair's
     revisions,        [{decision, decided_at, by, via, received_at}], all that came, in the order in which they were
                       decided; the last one counts, unless the pair is expired. Times are RFC 3339 in UTC
     counted}          by what its evidence is found again: for the next revision alone, and shown to nobody

Whoever reads a pair puts it over the document with `proxy.outcomes.closing.merged`. A pair that is open has none, and
`verdict` `pending` in its document. Entries of the verdicts' indices stay where a revision made another verdict of a
pair, so that each reader must look at the verdict of what it finds.
"""
