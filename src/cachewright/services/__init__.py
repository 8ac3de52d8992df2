"""Use cases of the API and the command line: queries and changes."""
