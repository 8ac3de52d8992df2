"""Where the server and the key come from, in which order."""

import json
import stat
from pathlib import Path

import pytest

from cachewright.client import account
from cachewright.client.account import Account, Target
from cachewright.client.errors import NoAccount

KEY = {"HUAWEICLOUD_SDK_AK": "AK", "HUAWEICLOUD_SDK_SK": "SK"}
HOME = Account(endpoint="http://home:1", project_id="p1", access_key="A", secret_key="S")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without anything that this machine's user has set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("AK", "SK", "PROJECT_ID"):
        monkeypatch.delenv(f"HUAWEICLOUD_SDK_{name}", raising=False)
    return tmp_path


def credentials(folder: Path, endpoint: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "credentials.json"
    known = {"endpoint": endpoint, "project_id": "p", "project_name": "local", "access_key": "K", "secret_key": "S"}
    path.write_text(json.dumps(known))
    return path


def test_nothing_is_known_at_first() -> None:
    with pytest.raises(NoAccount, match="profiles add"):
        Target().account()


def test_the_folder_below_is_taken_where_there_is_one(nowhere: Path) -> None:
    credentials(nowhere / "data", "http://here:1/")
    assert Target().account().endpoint == "http://here:1"


def test_a_profile_comes_before_it_and_a_named_folder_before_that(nowhere: Path) -> None:
    credentials(nowhere / "data", "http://here:1")
    account.write_profile("home", HOME)
    assert Target().account().endpoint == "http://here:1", "it is not in use yet"
    account.use_profile("home")
    assert Target().account() == HOME
    credentials(nowhere / "other", "http://other:1")
    assert Target(data_dir=nowhere / "other").account().endpoint == "http://other:1"


def test_the_environment_comes_before_a_profile_in_use_and_a_named_one_before_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account.write_profile("home", HOME)
    account.use_profile("home")
    for name, value in {**KEY, "HUAWEICLOUD_SDK_PROJECT_ID": "p2", "CACHEWRIGHT_ENDPOINT": "http://env:1"}.items():
        monkeypatch.setenv(name, value)
    assert Target().account() == Account(endpoint="http://env:1", project_id="p2", access_key="AK", secret_key="SK")
    assert Target(profile="home").account() == HOME


def test_options_replace_what_is_known() -> None:
    account.write_profile("home", HOME)
    changed = Target(profile="home", endpoint="https://else:2/", project_id="p9").account()
    assert (changed.endpoint, changed.project_id, changed.access_key) == ("https://else:2", "p9", "A")


def test_the_endpoint_of_the_one_region_is_taken() -> None:
    region = {"HUAWEICLOUD_SDK_REGION_DCS_LOCAL": "http://region:1"}
    found = account.of_environment({**KEY, **region, "HUAWEICLOUD_SDK_PROJECT_ID": "p"}, None, None)
    assert found
    assert found.endpoint == "http://region:1"


@pytest.mark.parametrize(
    ("environment", "missing"),
    [(KEY, "--endpoint"), ({**KEY, "CACHEWRIGHT_ENDPOINT": "http://env:1"}, "--project-id")],
)
def test_half_an_environment_says_what_is_missing(environment: dict[str, str], missing: str) -> None:
    with pytest.raises(NoAccount, match=missing):
        account.of_environment(environment, None, None)
    assert account.of_environment({"HUAWEICLOUD_SDK_AK": "AK"}, None, None) is None


def test_a_profile_is_for_its_owner_alone_and_can_be_removed(nowhere: Path) -> None:
    account.write_profile("home", HOME)
    account.use_profile("home")
    files = [path for path in (nowhere / "config").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert account.profiles() == {"home": HOME}
    account.remove_profile("home")
    assert (account.profiles(), account.profile_in_use()) == ({}, None)


@pytest.mark.parametrize("name", ["nobody", "", "../home", "a/b", ".hidden"])
def test_a_profile_that_is_not_there_is_told(name: str) -> None:
    for act in (account.read_profile, account.use_profile, account.remove_profile):
        with pytest.raises(NoAccount):
            act(name)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"endpoint": 1}', "\xff"])
def test_a_file_without_credentials_is_told(nowhere: Path, content: str) -> None:
    path = nowhere / "broken.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(NoAccount, match="is not a credentials file"):
        account.read(path)
