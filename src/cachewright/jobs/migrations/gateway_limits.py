"""What gateways may take of their machine: a source may send anything.

A replica enforces no `maxmemory`, and receives a snapshot of any length. So its memory and its disk are measured while
it works, and the kernel holds it to limits that are somewhat higher, because a single value grows faster than that.
"""

import asyncio

from cachewright import errors
from cachewright.disk_reserve import require_reserve
from cachewright.hosts.resources import limit_process
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.gateway import Gateway, GatewayState

_SPARE_MEMORY = 256 * 1024 * 1024


def gateway_memory(used_memory: int) -> int:
    """Return the bytes of memory that the gateway of a primary with so much data may use. A snapshot of it has no more
    bytes."""
    return 2 * used_memory + _SPARE_MEMORY


async def limit_gateway(machine: GatewayMachine, gateway: Gateway, most_memory: int) -> None:
    """Let the kernel hold a gateway to its limits, if it runs.

    :param most_memory: bytes beyond which the gateway is ended.
    """
    process = await machine.processes.process(gateway.name)
    if process is not None:
        most = most_memory + most_memory // 4 + _SPARE_MEMORY
        await asyncio.to_thread(limit_process, process.pid, memory=most, file=most)


async def require_host_memory(machine: GatewayMachine, during: str) -> None:
    """Raise JobFailed DCS.4036 if the host is almost out of memory: a source can claim that its data has grown, and
    the data of a file is not known before it is loaded.

    :param during: what happens now, for people.
    """
    host = await asyncio.to_thread(machine.resources)
    if host.has_little_memory:
        message = f"the host has {host.memory_free} bytes of memory left while {during}"
        raise JobFailed(errors.NOT_ENOUGH_MEMORY, message, final=True)


async def require_disk(machine: GatewayMachine, gateway: Gateway, state: GatewayState, most_bytes: int) -> None:
    """Raise JobFailed DCS.9020 if a source sends a longer snapshot than its data can have, or DCS.9007 if the disk
    is almost full while a snapshot arrives."""
    # valkey-server receives a snapshot on a thread of its own, and may count it later.
    received = max(state.received, await asyncio.to_thread(gateways.left_bytes, gateway))
    if received > most_bytes:
        raise _too_long(most_bytes)
    if received:
        await _require_reserve(machine)


async def require_stored(machine: GatewayMachine, gateway: Gateway, most_bytes: int) -> None:
    """Raise JobFailed if a gateway could not store a snapshot: it would receive the next one in vain too."""
    if gateways.could_not_store(await asyncio.to_thread(gateways.read_log, gateway)):
        await _require_reserve(machine)
        raise _too_long(most_bytes)


async def _require_reserve(machine: GatewayMachine) -> None:
    try:
        await asyncio.to_thread(require_reserve, machine.folder)
    except OSError as error:
        message = f"the snapshot of the source cannot be stored on the disk of the host: {error.strerror}"
        raise JobFailed(errors.NOT_ENOUGH_DISK, message, final=True) from error


async def require_within_limits(gateway: Gateway, most_bytes: int | None) -> None:
    """Raise JobFailed if a gateway that does not run was ended by a limit of the kernel, or by what its source
    sends: its next process would be too.

    :param most_bytes: of its snapshot; None if that is not known.
    """
    log = await asyncio.to_thread(gateways.read_log, gateway)
    if gateways.is_out_of_memory(log):
        raise JobFailed(
            errors.NOT_ENOUGH_MEMORY, "the data of the source needs more memory than the source reports", final=True
        )
    if (reason := gateways.unloadable(log)) is not None:
        raise JobFailed(errors.SOURCE_UNUSABLE, f"the data of the source cannot be loaded: {reason}", final=True)
    if most_bytes and await asyncio.to_thread(gateways.left_bytes, gateway) >= most_bytes:
        raise _too_long(most_bytes)


def _too_long(most_bytes: int) -> JobFailed:
    message = f"the source sends a snapshot of more than {most_bytes} bytes, which its data cannot have"
    return JobFailed(errors.SOURCE_UNUSABLE, message, final=True)
