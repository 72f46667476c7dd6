"""What the arms did, side by side: from a worker's record to the pair that is stored.

`body` decodes what was kept of an answer, `decision` reads a value by its path, `compare` says whether the arms agree
and where they differ (the rules by place are a `tree`; `likeness` compares single values, cleaned by `text`, and `sets`
lists without order), `noise` which differences the agent shows between its own answers too,
`redact` masks what must not be kept, `labels` says what a pair is counted under, `pairing` makes the pair of all this.

`steps` makes of an agent's spans the steps of its work, which belong to the pair; `conventions` knows what spans call
the same things.
"""
