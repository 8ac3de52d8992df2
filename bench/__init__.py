"""Benchmarks of Cachewright against its peers: `make bench`.

One module per benchmark, shared modules that start, load and query real clusters, and the page of results. Speed is
never an assertion: no benchmark fails because a machine is slow.
"""
