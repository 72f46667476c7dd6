"""Redis and disk.

`connection` opens the store, `embedded` runs a private one, `pairs` (with `totals`) and `rollouts` keep what the ports
in `proxy.model.ports` promise, by the Lua in `scripts`, under the names in `keys`. `spool` is the bounded queue on
disk, `frames` what the control process puts into it, `locks` says whose a directory is, `paths` where in data_dir what
lives, `lastgood` what a worker serves by while the control process is away. Workers use the disk half only.
"""
