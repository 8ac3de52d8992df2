"""Use cases: what callers of the API and the command line read and change."""
