"""Finds the server to use and the credentials for it.

Sources in order: a named profile, the environment variables of the cloud's SDKs, a named data directory of a server,
the active profile, `./data`. A profile is a file in the format of `credentials.json`, readable by its owner only.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from cachewright.client.errors import NoAccount
from cachewright.private_files import write_private

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REGION_ENDPOINT = "HUAWEICLOUD_SDK_REGION_DCS_"
_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_NO_SERVER = """\
no server configured. Use one of:
  cachewright profiles add NAME --from CREDENTIALS_FILE   (a server writes one into its data directory)
  --data-dir or CACHEWRIGHT_DATA_DIR                      (a server on this host)
  HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK, HUAWEICLOUD_SDK_PROJECT_ID and CACHEWRIGHT_ENDPOINT"""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A server, a project and an access key.

    :ivar endpoint: URL of the server, without a path.
    :ivar ca_file: CA certificates to trust instead of the system's, PEM.
    """

    endpoint: str
    project_id: str
    access_key: str
    secret_key: str
    ca_file: str | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Target:
    """Options of commands that use a server. Secrets are no options: all users of the host can see arguments."""

    profile: Annotated[str | None, Parameter(help="Profile to use.", env_var="CACHEWRIGHT_PROFILE")] = None
    data_dir: Annotated[
        Path | None, Parameter(help="Data directory of a server on this host.", env_var="CACHEWRIGHT_DATA_DIR")
    ] = None
    endpoint: Annotated[str | None, Parameter(help="URL of the server.")] = None
    project_id: Annotated[str | None, Parameter(help="Project id.")] = None

    def account(self) -> Account:
        """The account to use. NoAccount if none is configured."""
        account = self._configured()
        if self.endpoint:
            account = msgspec.structs.replace(account, endpoint=self.endpoint)
        if self.project_id:
            account = msgspec.structs.replace(account, project_id=self.project_id)
        return msgspec.structs.replace(account, endpoint=account.endpoint.rstrip("/"))

    def _configured(self) -> Account:
        if self.profile:
            return read_profile(self.profile)
        from_environment = of_environment(os.environ, self.endpoint, self.project_id)
        if from_environment:
            return from_environment
        current = profile_in_use()
        if current and not self.data_dir:
            return read_profile(current)
        credentials = (self.data_dir or Path("data")) / "credentials.json"
        if self.data_dir or credentials.exists():
            return read(credentials)
        raise NoAccount(_NO_SERVER)


DEFAULT_TARGET = Target()
"""No options."""


def of_environment(environment: Mapping[str, str], endpoint: str | None, project_id: str | None) -> Account | None:
    """Read environment variables; None without an access key. NoAccount if the endpoint or project is missing."""
    access_key, secret_key = environment.get("HUAWEICLOUD_SDK_AK"), environment.get("HUAWEICLOUD_SDK_SK")
    if not access_key or not secret_key:
        return None
    regions = {name: url for name, url in environment.items() if name.startswith(_REGION_ENDPOINT) and url}
    endpoint = (
        endpoint
        or environment.get("CACHEWRIGHT_ENDPOINT")
        or (next(iter(regions.values())) if len(regions) == 1 else None)
    )
    project_id = project_id or environment.get("HUAWEICLOUD_SDK_PROJECT_ID")
    if not endpoint:
        raise NoAccount("HUAWEICLOUD_SDK_AK is set, but neither CACHEWRIGHT_ENDPOINT nor --endpoint")
    if not project_id:
        raise NoAccount("HUAWEICLOUD_SDK_AK is set, but neither HUAWEICLOUD_SDK_PROJECT_ID nor --project-id")
    return Account(endpoint=endpoint, project_id=project_id, access_key=access_key, secret_key=secret_key)


def read(path: Path) -> Account:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Account)
    except OSError as error:
        raise NoAccount(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise NoAccount(f"{path} is not a credentials file: {error}") from error


def profiles() -> dict[str, Account]:
    folder = _folder() / "profiles"
    return {path.stem: read(path) for path in sorted(folder.glob("*.json"))}


def read_profile(name: str) -> Account:
    path = _profile(name)
    if not path.exists():
        raise NoAccount(f"unknown profile {name!r}; `cachewright profiles list` shows the known ones")
    return read(path)


def write_profile(name: str, account: Account) -> None:
    _write(_profile(name), msgspec.json.format(msgspec.json.encode(account)) + b"\n")


def remove_profile(name: str) -> None:
    read_profile(name)
    _profile(name).unlink()
    if profile_in_use() == name:
        (_folder() / "current").unlink()


def profile_in_use() -> str | None:
    current = _folder() / "current"
    return current.read_text().strip() if current.exists() else None


def use_profile(name: str) -> None:
    read_profile(name)
    _write(_folder() / "current", f"{name}\n".encode())


def _folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "cachewright"


def _profile(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise NoAccount(f"invalid profile name {name!r}; use letters, digits and _ . -")
    return _folder() / "profiles" / f"{name}.json"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
    write_private(path, content)
