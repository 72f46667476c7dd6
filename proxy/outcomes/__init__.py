"""What the arms did, side by side. `decision` reads the compared value, `compare` says whether the arms agree and where
they differ, `redact` masks what must not be kept, `pairing` makes the pair that is stored.
"""
