"""Traffic by other vendors' client libraries of Valkey clusters, one process for each library.

Every library keeps the retry settings that its vendor documents as the defaults for clusters.
"""
