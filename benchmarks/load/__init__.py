"""Load benchmarks: Crossfade side by side with other proxies, each case of each proxy paired with a reference run.

`cases` says what is measured and what is aimed at, `upstreams` is who answers, `peers` is who is measured, `place` is
where one of them lives. `wrk` and `openloop` are the clients; `measure`, `crowd` and `rate` take one run's figures.
`session` orders the runs, `ratios` makes ratios that spare the machine's noise, `tables` and `report` print and write.
`profiling` says where the microseconds go. `children` starts and ends processes, `procfs` reads their counters,
`certificates` makes what TLS needs, `install` gets the peers. Configurations of all proxies, and the requests' script,
are in `configs/`.
"""
