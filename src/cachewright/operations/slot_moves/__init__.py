"""Safeguards around each move of slots: equal functions, and hazards of Valkey's slot migration."""
