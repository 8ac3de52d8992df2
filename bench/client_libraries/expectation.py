"""The values that a worker may read from its own keys. Pure."""

from collections.abc import Iterator


class Expectation:
    """Keys, each with its last acknowledged value and later values whose writes ended in an error: those may have
    happened."""

    def __init__(self) -> None:
        self._acknowledged: dict[str, str] = {}
        self._unsure: dict[str, set[str]] = {}
        self.writes = 0

    def __len__(self) -> int:
        return len(self._acknowledged)

    def __iter__(self) -> Iterator[str]:
        return iter(self._acknowledged)

    def unsure(self, key: str, value: str) -> None:
        self._unsure.setdefault(key, set()).add(value)

    def acknowledged(self, key: str, value: str) -> None:
        self._acknowledged[key] = value
        self._unsure.pop(key, None)
        self.writes += 1

    def contradiction(self, key: str, found: str | None) -> str | None:
        """Describe how `found` contradicts the acknowledged writes; None if it does not."""
        expected = self._acknowledged.get(key)
        if expected is None or found == expected or found in self._unsure.get(key, ()):
            return None
        return f"{key} holds {found}, and {expected} was acknowledged"
