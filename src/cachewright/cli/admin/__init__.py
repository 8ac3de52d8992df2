"""Commands on the data directory of a server: users, projects, keys."""
