"""Background observation of instances: supervision, cluster checks, statistics, incidents."""
