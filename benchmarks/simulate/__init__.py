"""Simulations of the decision rules: traffic with a known truth, judged by Crossfade's own classes and others' rules.

`traffic` draws from a seed what both arms do, `flights` also when it ends. `crossfade` feeds that to the product's
classes, `peers` to the rules of others, which are written there from their documentation. Each topic (`healthy`,
`shared`, `speed`, `promotion`, `split`, `alone`, `cost`) makes tables of figures beside their goals (`findings`).
`compiled` makes the product's rules quicker here.
"""
