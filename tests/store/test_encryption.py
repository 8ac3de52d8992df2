"""Secrets at rest."""

import sqlite3
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from cachewright.config import Settings
from cachewright.services.accounts import first_credentials
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import SecretCipher, WrongKey, make_key, read_key
from cachewright.store.opening import open_database, open_in_use

RELEASES = Path(__file__).parent.parent / "releases"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def used(settings: Settings) -> Settings:
    database = open_database(settings)
    with database.write() as connection:
        first_credentials(connection)
    database.close()
    return settings


def test_what_is_sealed_is_opened_by_its_key_alone() -> None:
    cipher = SecretCipher([Fernet.generate_key()])
    sealed = cipher.encrypt("päss")
    assert "päss" not in sealed
    assert cipher.encrypt("päss") != sealed
    assert cipher.decrypt(sealed) == "päss"
    for broken in (sealed[:-2] + "AA", "", "not sealed"):
        with pytest.raises(WrongKey):
            cipher.decrypt(broken)
    with pytest.raises(WrongKey):
        SecretCipher([Fernet.generate_key()]).decrypt(sealed)


def test_a_new_key_is_put_before_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    sealed = make_key(path).encrypt("secret")
    old, new = path.read_bytes(), Fernet.generate_key()
    path.write_bytes(new + b"\n" + old)
    both = read_key(path)
    assert both.decrypt(sealed) == "secret"
    assert SecretCipher([new]).decrypt(both.encrypt("secret")) == "secret"


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"x" * 44, b"\xff\xfe"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(WrongKey, match=str(path)):
        read_key(path)


def test_a_new_database_gets_a_key_for_its_owner_alone(used: Settings) -> None:
    assert stat.S_IMODE(used.key_file.stat().st_mode) == 0o600
    open_database(used).close()


def test_a_key_that_is_lost_or_another_is_told(used: Settings) -> None:
    kept = used.key_file.read_bytes()
    used.key_file.unlink()
    with pytest.raises(WrongKey, match="is missing"):
        open_database(used)
    assert not used.key_file.exists()
    make_key(used.key_file)
    with pytest.raises(WrongKey, match="another key"):
        open_database(used)
    used.key_file.write_bytes(kept)
    open_database(used).close()


def test_a_key_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = Settings(data_dir=tmp_path / "data", secret_key_file=tmp_path / "elsewhere.key")
    open_database(settings).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "elsewhere.key"]
    assert not list((tmp_path / "data").glob("*.key"))


def test_secrets_that_an_older_release_kept_in_clear_are_sealed(settings: Settings) -> None:
    with sqlite3.connect(settings.database_file) as old:
        old.executescript((RELEASES / "0.1.0.sql").read_text())
        (secret,) = old.execute("SELECT secret_key FROM access_keys").fetchone()
        (password,) = old.execute("SELECT password FROM instances").fetchone()
    old.close()
    assert secret.encode() in settings.database_file.read_bytes()
    database = open_database(settings)
    with database.write() as connection:
        first = first_credentials(connection)
    database.close()
    assert first
    assert first.key.secret_key == secret
    assert first.project
    assert first.project.name == "local"
    stored = b"".join(path.read_bytes() for path in settings.data_dir.glob("cachewright.db*"))
    assert secret.encode() not in stored
    assert password.encode() not in stored


def test_only_a_server_changes_the_tables(settings: Settings, used: Settings) -> None:
    open_in_use(used).close()
    with sqlite3.connect(used.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num='0002'")
    connection.close()
    with pytest.raises(DatabaseNotReady, match="another release"):
        open_in_use(used)


def test_a_database_file_that_a_url_names_is_not_made_beside_a_server(settings: Settings) -> None:
    make_key(settings.key_file)
    named = Settings(data_dir=settings.data_dir, database_url=f"sqlite:///{settings.data_dir}/named.db")
    with pytest.raises(DatabaseNotReady):
        open_in_use(named)
    assert list(settings.data_dir.iterdir()) == [settings.key_file]


def test_a_folder_without_a_database_is_not_in_use(settings: Settings) -> None:
    with pytest.raises(DatabaseNotReady):
        open_in_use(settings)
    assert list(settings.data_dir.iterdir()) == []
