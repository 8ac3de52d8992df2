"""What can be bought: spec codes, their grammar, and the shard counts and capacities they stand for.

Pure. The grammar is the cloud's: `redis.{single|ha|cluster|proxy}.{xu1|au1}.{tiny|large}[.rN|.pN][.sK].SIZE`, SIZE in
MB for tiny and in GB for large, rN replicas with the master counted, sK the size of a shard in GB. Cachewright
serves the cluster family; the other families parse, so that a refusal can say why.
"""

import platform
import re
from collections.abc import Iterator
from decimal import Decimal

import msgspec

MAX_SHARDS = 128
MAX_REPLICAS = 5
ENGINE_VERSIONS = ("4.0", "5.0", "6.0", "7.0")
DEFAULT_ENGINE_VERSION = "7.0"
DEFAULT_SHARDS = {
    4: 3, 8: 3, 16: 3, 24: 3, 32: 3, 48: 6, 64: 8, 96: 12, 128: 16, 192: 24, 256: 32, 384: 48, 512: 64,
    768: 96, 1024: 128,
}  # fmt: skip
"""Total capacity in GB -> shards, where a spec code names no shard size (the cloud's table for cluster, 4.0 and up)."""

OFFERED_SHARD_SIZES = (1, 2, 4, 8, 16)
_GRAMMAR = re.compile(
    r"redis\.(?P<mode>single|ha|cluster|proxy)\.(?P<cpu>xu1|au1)\.(?P<class>tiny|large)"
    r"(?:\.(?P<kind>[rp])(?P<copies>\d{1,2}))?(?:\.s(?P<shard>\d{1,3}))?\.(?P<size>\d{1,4})"
)


class UnknownFlavor(ValueError):
    """The spec code is not one that can be bought."""


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    """One spec code, taken apart. `copies` counts the master; `capacity_mb` is the whole instance's."""

    spec_code: str
    cache_mode: str
    cpu_type: str
    capacity_mb: int
    shards: int
    copies: int

    @property
    def shard_mb(self) -> int:
        return self.capacity_mb // self.shards

    @property
    def capacity_gb(self) -> str:
        """As the cloud prints it: `4`, `0.125`."""
        return format((Decimal(self.capacity_mb) / 1024).normalize(), "f")


def parse(spec_code: str) -> Flavor:
    """The flavor a spec code names; UnknownFlavor where there is none such."""
    found = _GRAMMAR.fullmatch(spec_code)
    if not found:
        raise UnknownFlavor(f"{spec_code!r} is not a spec code")
    mode, size = found["mode"], int(found["size"])
    megabytes = size if found["class"] == "tiny" else size * 1024
    if not megabytes:
        raise UnknownFlavor(f"{spec_code!r} has no capacity")
    clustered = mode in {"cluster", "proxy"}
    shard_gb = int(found["shard"] or 0)
    if not clustered:
        if found["shard"]:
            raise UnknownFlavor(f"{mode} has no shards, so {spec_code!r} cannot size them")
        shards = 1
    elif found["class"] == "tiny":
        raise UnknownFlavor(f"a {mode} instance is sized in GB, not {spec_code!r}")
    elif shard_gb:
        shards, rest = divmod(size, shard_gb)
        if rest or not 1 <= shards <= MAX_SHARDS:
            raise UnknownFlavor(f"{size} GB is not 1 to {MAX_SHARDS} shards of {shard_gb} GB")
    elif found["shard"] is None and size in DEFAULT_SHARDS:
        shards = DEFAULT_SHARDS[size]
    else:
        raise UnknownFlavor(f"{spec_code!r} names no shard size, and {size} GB has no usual one")
    copies = int(found["copies"] or (1 if mode == "single" else 2))
    if not 1 <= copies <= MAX_REPLICAS + 1 or (mode == "single" and found["kind"]):
        raise UnknownFlavor(f"{spec_code!r} asks for {copies} copies of each shard")
    return Flavor(
        spec_code=spec_code,
        cache_mode="ha_rw_split" if found["kind"] == "p" else mode,
        cpu_type="x86_64" if found["cpu"] == "xu1" else "aarch64",
        capacity_mb=megabytes,
        shards=shards,
        copies=copies,
    )


def machine_cpu_type() -> str:
    """The cloud's word for this machine's processor."""
    return "aarch64" if platform.machine().lower() in {"aarch64", "arm64"} else "x86_64"


def offered(cpu_type: str) -> Iterator[Flavor]:
    """Every flavor that is listed for sale on a processor type: cluster, with and without a named shard size."""
    cpu = "xu1" if cpu_type == "x86_64" else "au1"
    for copies in (1, 2, 3):
        prefix = f"redis.cluster.{cpu}.large.r{copies}"
        for size in DEFAULT_SHARDS:
            yield parse(f"{prefix}.{size}")
        for shard_gb in OFFERED_SHARD_SIZES:
            for shards in range(1, MAX_SHARDS + 1):
                yield parse(f"{prefix}.s{shard_gb}.{shards * shard_gb}")
