"""The composition root: database, host, engine with every operation, monitors, services and the HTTP API."""
