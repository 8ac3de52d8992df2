"""A package, so that a browser and a server are shared by all of its tests that a worker runs, and end after them."""
