"""The operator's HTTP API on aiohttp: health, metrics, routes and verbs, pairs. GET never changes anything.

A request passes `shield` (request id, errors as answers, whose page it comes from, who asks: `auth`) and reaches
`health` or `api`; what it asks for is done by the control process behind `proxy.model.ports.Operations`. `bodies` and
`answers` are the way in and out, `app` puts all of it together.
"""
