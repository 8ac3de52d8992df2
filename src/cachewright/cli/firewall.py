"""`cachewright firewall`: rules that block other users of the host from the ports between nodes."""

import hashlib
import sys

from cachewright.cli.admin.data_dir import DataDirectory
from cachewright.cli.settings import BUS_PORTS, BusPorts
from cachewright.config import parse_ports, show_ports
from cachewright.hosts.firewall import Protected, conflicts, protected_ports, ruleset
from cachewright.hosts.ports import listeners, used_for_outgoing
from cachewright.store import instances


def firewall(*, folder: DataDirectory, bus_ports: BusPorts = BUS_PORTS) -> None:
    """Print nftables rules: only the owner of the data directory may connect to the ports between nodes.

    Clients of all users still reach the caches. Root must load the rules. Load them again after an instance was created
    or scaled out: they also keep other users from listening on client ports while a node is down.

    Example: cachewright firewall --data-dir ./data | sudo nft -f -
    """
    try:
        peers = parse_ports(bus_ports)
    except ValueError as error:
        sys.exit(f"cachewright: {error}")
    with folder.read() as connection:
        nodes, addresses = instances.all_nodes(connection), instances.addresses(connection)
    owner = folder.data_dir.stat().st_uid
    protected = protected_ports(peers, nodes, addresses)
    _require_unused(protected, owner, peers)
    table = f"cachewright_{hashlib.sha256(bytes(folder.data_dir.absolute())).hexdigest()[:8]}"
    print(f"# Nodes of {folder.data_dir.absolute()}: only user {owner} may connect to the ports between them.")
    print(ruleset(table, owner, protected), end="")


def _require_unused(protected: Protected, owner: int, peers: tuple[int, int]) -> None:
    """End the program if the rules would block other programs."""
    shown = show_ports(peers)
    if taken := conflicts(protected, owner, listeners()):
        named = ", ".join(f"{port} (user {user})" for port, user in sorted(taken.items()))
        sys.exit(
            f"cachewright: other users listen on ports that the rules would block: {named}. Stop these programs, or "
            f"give this command and `cachewright serve` other --bus-ports than {shown}"
        )
    if setting := used_for_outgoing(peers):
        sys.exit(
            f"cachewright: {setting}, so other programs may get ports that the rules block. Reserve them: "
            f"sysctl net.ipv4.ip_local_reserved_ports={shown}"
        )
