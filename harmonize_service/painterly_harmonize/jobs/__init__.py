"""Jobs that outlive calls and processes: kept in a store, computed by workers, watched through fronts.

Nothing here knows what a job computes or how its events are written: those are bytes. `store` has the two seams,
`front` and `worker` the two sides of them, `supervisor` keeps a worker process alive.
"""
