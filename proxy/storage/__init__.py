"""Redis and disk.

`connection` opens the store, `embedded` runs a private one, `pairs` and `rollouts` keep what the ports in
`proxy.model.ports` promise, `keys` names every key, `spool` is the bounded queue on disk.
"""
