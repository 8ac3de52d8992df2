"""Safeguards around each move of slots: equal functions and accounts, and hazards of Valkey's slot migration."""
