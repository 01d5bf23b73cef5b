"""The side-by-side lab: loopback only, Python's standard library only, every load bounded in time."""
