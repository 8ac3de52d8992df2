"""A later release for tests of upgrades: a copy of the package with another version and one more migration."""

import shutil
from pathlib import Path

import cachewright
from cachewright.store.transactions import current_revision

VERSION = "999.0.0"
REVISION = "9999"
_COLUMN = 'sa.Column("later", sa.Text),'
_MIGRATION = f'''"""A migration of tests: a column that servers and agents of the later release read."""

import sqlalchemy as sa
from alembic import op

revision = "{REVISION}"
down_revision = "{{before}}"


def upgrade() -> None:
    op.add_column("hosts", {_COLUMN.rstrip(",")})
'''


def later_release(folder: Path) -> dict[str, str]:
    """Write the later release into a folder. Return the variables by which a process runs it."""
    package = folder / "cachewright"
    shutil.copytree(Path(cachewright.__file__).parent, package)
    _replace(package / "__init__.py", f'"{cachewright.__version__}"', f'"{VERSION}"')
    report = 'sa.Column("report", sa.Text, nullable=False),'
    _replace(package / "store/tables/instance.py", report, f"{report}\n    {_COLUMN}")
    before = str(current_revision())
    (package / "store/migrations/versions/9999_later.py").write_text(_MIGRATION.format(before=before))
    return {"PYTHONPATH": str(folder)}


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} does not contain {old!r} once"
    file.write_text(text.replace(old, new))
