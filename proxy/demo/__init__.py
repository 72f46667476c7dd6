"""The bundled demonstration: a human workflow, an agent, their users, and the live table that shows a rollout.

`human` and `agent` are real HTTP services that decide refund requests, `traffic` is the users, `show` the table and
`run` the play in acts. It stands outside the product: it starts `crossfade run` as anyone would.
"""
