"""`python -m cachewright`."""

from cachewright.cli import main

main()
