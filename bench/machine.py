"""Description of the machine of a measurement."""

import os
import platform
import subprocess
from pathlib import Path

import msgspec
import psutil

import cachewright
from cachewright.config import Settings


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    valkey: str
    cachewright: str


def this_machine() -> Machine:
    said = subprocess.run(
        [Settings(data_dir=Path()).valkey_binary, "--version"], capture_output=True, text=True, check=True
    )
    version = next(word.removeprefix("v=") for word in said.stdout.split() if word.startswith("v="))
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        valkey=version,
        cachewright=cachewright.__version__,
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
