"""The control plane.

`supervisor` starts and restarts the others. `process` is the control process, in which `hub` serves the workers' link,
`recorder` brings outcomes to the store, `controller` moves the stages and `reload` watches the configuration.
"""
