"""What the arms did, side by side: from a worker's record to the pair that is stored.

`body` decodes what was kept of an answer, `decision` reads the compared value, `compare` says whether the arms agree
and where they differ, `redact` masks what must not be kept, `labels` says what a pair is counted under, `pairing` makes
the pair of all this.
"""
