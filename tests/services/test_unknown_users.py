"""An unknown name is refused with the same work as a wrong password."""

from pathlib import Path

import pytest
from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError

from cachewright.services import tokens
from database_fixtures import new_database


def test_an_unknown_name_is_verified_like_a_known_one(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    unknown = tokens.TokenService(database)._hash_of_unknown_user
    database.close()
    assert extract_parameters(unknown) == extract_parameters(tokens.HASHER.hash("Known-password-1"))
    with pytest.raises(VerifyMismatchError):
        tokens.HASHER.verify(unknown, "")
