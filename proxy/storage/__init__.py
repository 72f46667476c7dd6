"""Redis and disk.

`connection` opens the store (`sentinel` and `cluster` where it is more than one server), `probe` looks it over,
`embedded` runs a private one. `pairs`, `rollouts` and `replicas` keep what the ports in `proxy.model.ports` promise, by
the Lua in `scripts`, under the names in `keys`: evidence is summed up in a `tally` and kept as `totals`; `steps` is
what agents did, by trace. `upgrade` brings what an older Crossfade wrote to the present layout.

`spool` is the bounded queue on disk, `frames` what the control process puts into it, `locks` says whose a directory is,
`paths` where in data_dir what lives, `lastgood` what a worker serves by while the control process is away. Workers use
this half only.
"""
