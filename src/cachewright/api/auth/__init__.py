"""Signed requests to a principal."""
