"""The words of the house as frozen types; everything else speaks in them.

`words` holds the enumerations (arm, mode, fate, phase, verdict), `snapshot` what a worker decides by, `records` what
a worker reports of one request, `tick` the counts it reports five times a second, `link` the frames between worker and
control process, `errors` the tree that says who is at fault, `ports` the few Protocols through which the I/O packages
meet. Nothing here does I/O or knows a clock.
"""
