"""A soak: seeded clients and seeded upstreams that misbehave, and the books that must balance afterwards.

`acts` says what an upstream may do with a request, `upstream` sees it and `play` does it. `plan` draws the clients'
visits from a seed, `visits` makes them and keeps what came back. `verdicts` judges each request by what both sides saw,
`books` compares `/metrics` with both logs. `steps` are requests one after the other, where each count is known before.
"""
