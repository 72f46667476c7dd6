"""Which route, whose key, which bucket, which arm: four pure functions a request passes through, in that order.

`match` finds the route, `identity` the targeting key, `bucket` hashes it, `decide` says arm, mode, shadow and why.
`explain` asks them why a user's requests go where they go.
"""
