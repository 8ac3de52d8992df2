"""Sources of other versions, sources with TLS, and files: all into one instance."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from valkey import Valkey

from cachewright.valkey.certificates import authority_certificate, new_authority, node_certificate
from migrating import (
    SINGLE,
    content,
    failed_migration,
    fill,
    imported,
    is_ready,
    log,
    migrate,
    migration,
    reaches,
    served,
)
from other_versions import OTHER_VERSIONS, WANTED
from outside_server import OutsideServer, outside_server
from sdk_calls import PASSWORD, backed_up, created, show
from serving import Server, until
from tls_front import HAPROXY, tls_front

_EXPIRING = "expiring:*"
_USER = ("--user", "mover", "on", ">User-password-1", "+psync", "+replconf", "+ping", "+info", "+cluster")


@pytest.mark.node
@pytest.mark.parametrize("version", WANTED)
def test_programs_of_other_versions(version: str) -> None:
    if version not in OTHER_VERSIONS:
        pytest.skip(f"no server {version}x is installed; make test installs it where its package is to be had")
    said = subprocess.run(
        ["redis-server", "--version"], executable=OTHER_VERSIONS[version], capture_output=True, text=True, check=True
    )
    assert f"v={version}" in said.stdout


def cut_over(server: Server, client: Any, migration_id: str) -> None:
    until(lambda: is_ready(server, migration_id), "the migration is not ready")
    server.call("POST", f"migration-task/{migration_id}/cut-over", {})
    reaches(client, migration_id, "SUCCESS")


def test_other_versions_tls_and_files(server: Server, client: Any, tmp_path: Path) -> None:
    """One after another into one instance. Each part leaves it empty."""
    target = created(client, **SINGLE)
    shown = show(client, target)
    inside = Valkey(host=shown.ip, port=shown.port, password=PASSWORD)
    for number, (version, program) in enumerate(OTHER_VERSIONS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with outside_server(folder, program=program) as source:
            migration_id = _follow_while_keys_expire(client, target, source)
            source.client().set("later", version)
            cut_over(server, client, migration_id)
            until(lambda source=source: not [*inside.keys(_EXPIRING), *source.client().keys(_EXPIRING)], "keys stay")
            assert content(inside) == content(source.client()), version
            assert inside.get("later") == version.encode()
            inside.flushall()
    with outside_server(tmp_path, *_USER) as source:
        fill(source.client(), 300)
        if HAPROXY:
            _migrate_by_tls(server, client, target, source, tmp_path)
            assert content(inside) == content(source.client())
            assert [library[1] for library in inside.function_list()] == [b"new"]
            inside.flushall()
        _import_files(server, client, target, inside, source)
    assert not list((server.data_dir / "gateways").glob("[!.]*"))


def _follow_while_keys_expire(client: Any, target: str, source: OutsideServer) -> str:
    outside = source.client()
    fill(outside, 300)
    for number in range(150):
        outside.set(f"expiring:{number}", 1, px=1000 + 10 * number)
    migration_id = migrate(client, target, source.address, follow=True)
    reaches(client, migration_id, "INCRMIGEATING")
    return migration_id


def failure(server: Server, migration_id: str) -> str:
    """Code and message of a migration that has failed."""
    return str(server.call("GET", f"migration-task/{migration_id}")[1]["error_message"])


def _migrate_by_tls(server: Server, client: Any, target: str, source: OutsideServer, folder: Path) -> None:
    """Migrate as a user of the access control list, by TLS. A library is replaced by another one meanwhile."""
    outside = source.client()
    outside.function_load("#!lua name=old\nserver.register_function('f', function() return 1 end)")
    user = {"username": "mover", "password": "User-password-1"}
    with tls_front(folder, source.port, name="127.0.0.9") as front:
        address = f"127.0.0.1:{front.port}"
        trusted = {"ssl_enabled": True, "ssl_ca": front.authority}
        for wrong in ({"ssl_enabled": True}, trusted):
            failed = failed_migration(client, migrate(client, target, address, follow=False, **user, **wrong))
            assert "CERTIFICATE_VERIFY_FAILED" in failure(server, failed)
        migration_id = migrate(client, target, address, follow=True, **user, **trusted, ssl_check_hostname=False)
        reaches(client, migration_id, "INCRMIGEATING")
        outside.function_delete("old")
        outside.function_load("#!lua name=new\nserver.register_function('f', function() return 2 end)")
        outside.set("by", "tls")
        cut_over(server, client, migration_id)
    with tls_front(folder, source.port) as front:
        trusted = {"ssl_enabled": True, "ssl_ca": front.authority}
        named = migrate(client, target, f"127.0.0.1:{front.port}", follow=False, **user, **trusted)
        reaches(client, named, "SUCCESS")
    _migrate_with_a_certificate(server, client, target, source, folder)


def _migrate_with_a_certificate(server: Server, client: Any, target: str, source: OutsideServer, folder: Path) -> None:
    """Follow a source that asks its clients for a certificate, of its authority."""
    authority, other = new_authority("clients"), new_authority("others")
    with tls_front(folder, source.port, client_authority=authority_certificate(authority)) as front:
        address = f"127.0.0.1:{front.port}"
        trusted = {"ssl_enabled": True, "ssl_ca": front.authority}
        for wrong in ({}, _certificate_of(other)):
            failed = failed_migration(client, migrate(client, target, address, follow=False, **trusted, **wrong))
            assert "cannot be reached" in failure(server, failed)
        own = _certificate_of(authority)
        migration_id = migrate(client, target, address, follow=True, **trusted, **own)
        reaches(client, migration_id, "INCRMIGEATING")
        source.client().set("by", "certificate")
        cut_over(server, client, migration_id)
    shown = server.call("GET", f"migration-task/{migration_id}")[1]
    task = server.call("GET", f"tasks/{shown['background_task_id']}")[1]
    secrets = [line for line in "".join(own.values()).splitlines() if not line.startswith("-----")]
    assert len(secrets) > 4
    kept = server.log() + str(shown) + str(task) + str(log(client, migration_id))
    files = b"".join(path.read_bytes() for path in server.data_dir.glob("*") if path.is_file())
    assert not [line for line in secrets if line in kept or line.encode() in files]


def _certificate_of(authority: str) -> dict[str, str]:
    """Members of a source with a certificate of an authority."""
    pem = node_certificate(authority, "mover", address="127.0.0.1")
    begin = pem.index("-----BEGIN CERTIFICATE")
    return {"ssl_cert": pem[begin:], "ssl_key": pem[:begin]}


def _import_files(server: Server, client: Any, target: str, inside: Any, source: OutsideServer) -> None:
    """Import files of the source, of which the second one has a function library of its own, and a backup."""
    inside.set("own", "key")
    backup = backed_up(client, target)
    inside.delete("own")
    source.client().save()
    dump = (source.folder / "dump.rdb").rename(source.folder / "first.rdb").read_bytes()
    source.client().function_load("#!lua name=second\nserver.register_function('g', function() return 3 end)")
    source.client().save()
    for name, content_of_file in {
        "text": b"no RDB file at all",
        "cut": dump[: len(dump) // 2],
        "newer": b"REDIS0012" + dump[9:],
    }.items():
        (source.folder / f"{name}.rdb").write_bytes(content_of_file)
    with served(source.folder) as url:
        for name, words in {
            f"{url}/text.rdb": "is not an RDB file",
            f"{url}/cut.rdb?sign=secret": "cannot be read",
            f"{url}/newer.rdb": "has RDB version 12",
            f"{url}/none.rdb?sign=secret": "answers 404",
            "http://169.254.169.254/dump.rdb": "is not permitted",
        }.items():
            said = failure(server, failed_migration(client, imported(client, target, urls=(name,))))
            assert said.startswith("DCS.9020"), said
            assert words in said, name
        done = imported(client, target, urls=(f"{url}/first.rdb?sign=secret", f"{url}/dump.rdb?sign=secret"))
        reaches(client, done, "SUCCESS")
    assert b"second" in [library[1] for library in inside.function_list()]
    assert content(inside) == content(source.client())
    assert "sign=secret" not in server.log() + str(migration(client, done)) + str(log(client, done))
    reaches(client, imported(client, target, backup=backup), "SUCCESS")
    assert inside.get("own") == b"key"
    assert inside.dbsize() == source.client().dbsize() + 1
