"""What accompanies each move of slots: equal nodes, and the hazards of Valkey's slot migration."""
