"""HTTP client of the API with signed requests, for the command line, the demo, benchmarks and tests."""
