"""Traffic by one Python library, `python -m bench.client_libraries.python_client`; `messages` has its messages."""

import asyncio
import importlib.metadata
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Protocol

import msgspec
import redis
from glide import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress, ServerCredentials
from valkey.cluster import ValkeyCluster

from bench.client_libraries.expectation import Expectation
from bench.client_libraries.messages import ClientError, ClientReport, ClientSpec

_ANSWER_MS = 10_000
"""Time limit of a request in the library that has one by default: its 250 ms would measure the machine."""


class Cache(Protocol):
    """The requests of the traffic."""

    async def set(self, key: str, value: str) -> None: ...
    async def get(self, key: str) -> str | None: ...


class _Threaded:
    """A blocking library; its requests run on threads."""

    def __init__(self, client: "ValkeyCluster | redis.RedisCluster") -> None:
        self._client = client

    async def set(self, key: str, value: str) -> None:
        await asyncio.to_thread(self._client.set, key, value)

    async def get(self, key: str) -> str | None:
        found = await asyncio.to_thread(self._client.get, key)
        return found.decode() if isinstance(found, bytes) else None


class _Glide:
    def __init__(self, client: GlideClusterClient) -> None:
        self._client = client

    async def set(self, key: str, value: str) -> None:
        await self._client.set(key, value)

    async def get(self, key: str) -> str | None:
        found = await self._client.get(key)
        return found.decode() if found is not None else None


async def _valkey_py(spec: ClientSpec) -> Cache:
    return _Threaded(ValkeyCluster(host=spec.host, port=spec.port, password=spec.password))


async def _redis_py(spec: ClientSpec) -> Cache:
    return _Threaded(redis.RedisCluster(host=spec.host, port=spec.port, password=spec.password))


async def _valkey_glide(spec: ClientSpec) -> Cache:
    configuration = GlideClusterClientConfiguration(
        [NodeAddress(spec.host, spec.port)],
        credentials=ServerCredentials(spec.password) if spec.password else None,
        request_timeout=_ANSWER_MS,
    )
    return _Glide(await GlideClusterClient.create(configuration))


_OPENERS: dict[str, tuple[str, Callable[[ClientSpec], Awaitable[Cache]]]] = {
    "valkey-py": ("valkey", _valkey_py),
    "redis-py": ("redis", _redis_py),
    "valkey-glide": ("valkey-glide", _valkey_glide),
}


class _Traffic:
    def __init__(self, spec: ClientSpec, cache: Cache) -> None:
        self._spec = spec
        self._cache = cache
        self._stopping = asyncio.Event()
        self._expected = [Expectation() for _ in range(spec.workers)]
        self._begun: list[float] = []
        self._took: list[float] = []
        self._writes: list[bool] = []
        self._errors: list[ClientError] = []
        self._lost: list[str] = []

    async def run(self) -> None:
        begin = time.time()
        async with asyncio.TaskGroup() as workers:
            for number in range(self._spec.workers):
                workers.create_task(self._work(number, begin))

    def stop(self) -> None:
        self._stopping.set()

    async def _work(self, number: int, begin: float) -> None:
        expected = self._expected[number]
        turn = 0
        while not self._stopping.is_set():
            due = begin + (turn * self._spec.workers + number) / self._spec.rate
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
                due = time.time()
            writing = turn % 2 == 0
            key = f"{self._spec.name or self._spec.library}:{number}:{turn // 2 % self._spec.keys}"
            try:
                if writing:
                    await self._write(expected, key, f"{number}:{turn}")
                elif contradiction := expected.contradiction(key, await self._cache.get(key)):
                    self._lost.append(f"{contradiction}, at {time.time():.3f}")
            except Exception as error:  # whatever reaches the caller of a library is an error
                self._errors.append(
                    ClientError(
                        begun=due,
                        at=time.time(),
                        command=f"{'SET' if writing else 'GET'} {key}",
                        kind=type(error).__name__,
                        message=str(error)[:300],
                    )
                )
            self._begun.append(due)
            self._took.append(time.time() - due)
            self._writes.append(writing)
            turn += 1

    async def _write(self, expected: Expectation, key: str, value: str) -> None:
        expected.unsure(key, value)
        await self._cache.set(key, value)
        expected.acknowledged(key, value)

    async def report(self, version: str) -> ClientReport:
        """Read back all keys."""
        for expected in self._expected:
            for key in expected:
                if contradiction := expected.contradiction(key, await self._cache.get(key)):
                    self._lost.append(f"{contradiction}, read back")
        return ClientReport(
            library=self._spec.library,
            version=version,
            begun=self._begun,
            took=self._took,
            writes=self._writes,
            errors=self._errors,
            acknowledged=sum(expected.writes for expected in self._expected),
            read_back=sum(len(expected) for expected in self._expected),
            lost=self._lost,
        )


async def _serve(answers: BinaryIO) -> None:
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=ClientSpec)
    distribution, opener = _OPENERS[spec.library]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(spec.workers + 1))  # one waits for the end
    traffic = _Traffic(spec, await opener(spec))
    running = asyncio.create_task(traffic.run())
    _send(answers, b"")
    await asyncio.to_thread(sys.stdin.buffer.readline)
    traffic.stop()
    await running
    report = await traffic.report(importlib.metadata.version(distribution))
    _send(answers, msgspec.json.encode(report))


def _send(answers: BinaryIO, line: bytes) -> None:
    answers.write(line + b"\n")
    answers.flush()


def main() -> None:
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # a library writes its log to standard output
        asyncio.run(_serve(answers))


if __name__ == "__main__":
    main()
