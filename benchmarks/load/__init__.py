"""Load benchmarks: Crossfade side by side with other proxies, each case of each proxy paired with a reference run.

`cases` says what is measured and what is aimed at, `upstreams` is who answers, `peers` is who is measured, `measure`
takes one run's figures, `session` orders the runs, `ratios` makes ratios that spare the machine's noise, `report`
prints and writes. `children` starts and ends processes, `procfs` reads their counters, `install` gets the peers.
Configurations of all proxies, and the requests' script, are in `configs/`.
"""
