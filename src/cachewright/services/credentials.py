"""Owners of credentials: user and role in a project. Every request needs them, so they are in the read cache."""

import secrets

from cachewright.store import credentials
from cachewright.store.credentials import KeyOwner, Owner, TokenOwner
from cachewright.store.encryption import SecretCipher
from cachewright.store.read_cache import ReadCache

__all__ = ["CredentialService", "KeyOwner", "Owner", "TokenOwner"]


class CredentialService:
    def __init__(self, cache: ReadCache, cipher: SecretCipher) -> None:
        self._cache = cache
        self._cipher = cipher
        self._secret_of_unknown_key = cipher.encrypt(secrets.token_urlsafe(30))

    async def owner_of_key(self, access_key: str, project_id: str | None) -> KeyOwner | None:
        """Return the user of this access key with the role in the project, or None if the key does not exist."""
        return await self._cache.ask(credentials.of_key, access_key, project_id)

    async def owner_of_token(self, digest: str, project_id: str | None) -> TokenOwner | None:
        """Return the user of the token with this SHA-256 with the role in the project, or None if it does not exist."""
        return await self._cache.ask(credentials.of_token, digest, project_id)

    def secret_key(self, owner: KeyOwner | None) -> str:
        """Return the secret key of `owner`, or without an owner a random one, so that refusing an unknown key takes as
        long as refusing a wrong signature."""
        return self._cipher.decrypt(owner.sealed_secret if owner else self._secret_of_unknown_key)
