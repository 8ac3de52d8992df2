"""Checks of this host: programs, kernel, limits, other users."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from cachewright.cli.doctor.finding import Finding, State
from cachewright.cli.doctor.records import read
from cachewright.config import Settings
from cachewright.hosts.client_firewall import FirewallFailed
from cachewright.hosts.host_users import exposures
from cachewright.hosts.local import client_firewall
from cachewright.hosts.node_environment import describe
from cachewright.hosts.server_binary import UnusableServer, has_tls, require_version
from cachewright.services.instance_queries import count_by_tls

_OPEN_FILES = 4096


def check_python(_: Settings) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def check_valkey(settings: Settings) -> Iterator[Finding]:
    try:
        version = require_version(settings.valkey_binary)
    except UnusableServer as unusable:
        yield Finding("valkey-server", "fail", str(unusable), "Reinstall the package, or use --valkey-binary.")
    else:
        allocator = describe(settings.valkey_binary, settings.jemalloc)
        tls = "TLS" if has_tls(settings.valkey_binary) else "no TLS, so new instances have none between nodes"
        message = f"{version} at {settings.valkey_binary}; {tls}; allocator: {allocator}"
        yield Finding("valkey-server", "ok", message)
    for binary in settings.other_valkey_binaries:
        try:
            yield Finding("valkey-server", "ok", f"also {require_version(binary)} at {binary}")
        except UnusableServer as unusable:
            yield Finding("valkey-server", "fail", str(unusable), "Correct or remove --other-valkey-binary.")


def check_haproxy(settings: Settings) -> Iterator[Finding]:
    if settings.haproxy_binary:
        yield Finding("haproxy", "ok", f"{settings.haproxy_binary}: addresses of ha instances, TLS, whitelists")
    else:
        remedy = "Install it (Debian: haproxy), or use clients that look up the address again after an error."
        missing = "not found: the address of an ha instance changes at a failover; no TLS of clients, no whitelists"
        yield Finding("haproxy", "warn", missing, remedy)


def check_client_firewall(settings: Settings) -> Iterator[Finding]:
    """Check that the server may load rules that enforce whitelists of clusters."""
    firewall = client_firewall(settings)
    if firewall is None:
        yield Finding("nftables", "ok", "off (--nftables): whitelists of clusters are refused")
        return
    try:
        firewall.check()
    except FirewallFailed as failure:
        remedy = "Install nft (Debian: nftables), and run the server as root or with CAP_NET_ADMIN."
        yield Finding("nftables", "fail", str(failure), remedy)
    else:
        yield Finding("nftables", "ok", f"{settings.nft_binary}: whitelists of clusters")


def check_kernel(_: Settings) -> Iterator[Finding]:
    overcommit = _first_line("/proc/sys/vm/overcommit_memory")
    if overcommit == "1":
        yield Finding("overcommit", "ok", "vm.overcommit_memory is 1")
    elif overcommit:
        remedy = "sysctl vm.overcommit_memory=1, or a snapshot may fail while memory is short."
        yield Finding("overcommit", "warn", f"vm.overcommit_memory is {overcommit}", remedy)
    pages = _first_line("/sys/kernel/mm/transparent_hugepage/enabled")
    if "[always]" in pages:
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: snapshots copy less, latency is lower."
        yield Finding("huge pages", "warn", "transparent huge pages are always on", remedy)
    elif pages:
        yield Finding("huge pages", "ok", f"transparent huge pages: {pages}")


def check_limits(_: Settings) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state: State = "ok" if soft >= _OPEN_FILES else "warn"
    remedy = "" if state == "ok" else f"ulimit -n {_OPEN_FILES} or more, or caches accept fewer clients."
    yield Finding("open files", state, f"{soft} (hard limit {hard})", remedy)


def check_other_users(settings: Settings) -> Iterator[Finding]:
    """Check risks by other users of the host. Without a readable database, only the server binary is checked."""
    with_tls, without_tls = read(settings, count_by_tls) or (0, 0)
    tls = has_tls(settings.valkey_binary)
    found = exposures(tls=tls, instances_with_tls=with_tls, instances_without_tls=without_tls)
    for risk in found:
        yield Finding("other users", "fail" if risk.blocking else "warn", risk.risk, risk.remedy)
    if not found:
        yield Finding(
            "other users", "ok", "cannot join the cluster bus: nodes accept only nodes of their own instance, by TLS"
        )


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
