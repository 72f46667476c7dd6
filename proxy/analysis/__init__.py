"""The statistics: pure, of bounded memory, valid however often one looks. Formulas and sources stand in the docstrings.

Rolling back: `breaker` (in the worker); `ledger` (requests by when they arrived, from all `sources`, as `block`s of
time); `sequential` (the agent against legacy, or against a given rate) out of `edetector` (slow, exact) and `cusum`
(fast, knows legacy's history); `dumped` reads back what a test remembered.

Promoting: `agreement` (a share against a floor or a ceiling), `segments`, `kappa`, `direction`, `ratio`.
To read: `confusion` (decisions set against each other, misses by their cost), `selfnoise` (where the agent
differs from itself).
"""
