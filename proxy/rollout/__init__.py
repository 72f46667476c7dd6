"""How a rollout moves: (state, evidence or command, now) -> state and event.

`plan` is what the configuration asks for, `machine` the table of phases, `gates` the conditions to leave a stage (their
subjects: `waiting`, `pairs`, `rates`, `drawing`; the proof they ask for: `shares`), `advance` the step that the
controller takes each tick, `outlook` what comes next, `codec` the state's form in the store. A tick goes
plan -> gates.evaluate -> machine.following -> Step(state, event, gates).
"""
