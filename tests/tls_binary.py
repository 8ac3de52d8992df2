"""A valkey-server with TLS for tests that need one: the packaged one does not support TLS."""

import os
from pathlib import Path

import pytest

VARIABLE = "CACHEWRIGHT_TLS_VALKEY"
TLS_BINARY = Path(os.environ.get(VARIABLE, "/dev/null"))

needs_tls_binary = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"{VARIABLE} does not name a valkey-server 9.0 or later that has TLS"
)
