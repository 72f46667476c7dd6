"""The statistics, each a dozen floats and a pure step: `breaker` (in the worker), `sequential` (two arms at once),
`agreement` (a confidence bound valid under constant looking). Formulas and sources stand in their docstrings.
"""
