"""HTTP client of the API, signed, for the command line, the demo, benchmarks and tests."""
