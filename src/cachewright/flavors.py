"""Flavors: the grammar of spec codes, and the shard counts and capacities that they stand for. Pure.

The grammar is the cloud's: `redis.{single|ha|cluster|proxy}.{xu1|au1}.{tiny|large}[.rN|.pN][.sK].SIZE`. SIZE is in MB
for tiny and in GB for large, rN is the number of copies of each shard including the primary, sK the size of a shard in
GB. Cachewright serves the families of `cachewright.topologies`; it parses the others too, so that errors can give the
reason.
"""

import platform
import re
from collections.abc import Iterator
from decimal import Decimal

import msgspec

MEGABYTE = 1024 * 1024
MAX_SHARDS = 128
MAX_REPLICAS = 5
ENGINE_VERSIONS = ("4.0", "5.0", "6.0", "7.0")
DEFAULT_ENGINE_VERSION = "7.0"
DEFAULT_SHARDS = {
    4: 3, 8: 3, 16: 3, 24: 3, 32: 3, 48: 6, 64: 8, 96: 12, 128: 16, 192: 24, 256: 32, 384: 48, 512: 64,
    768: 96, 1024: 128,
}  # fmt: skip
"""Shards by total capacity in GB, for spec codes without a shard size (the cloud's table for cluster, 4.0 and up)."""

PROXY_SHARDS = DEFAULT_SHARDS | {2048: 128}
SINGLE_CAPACITIES_MB = tuple(int(gigabytes * 1024) for gigabytes in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 24, 32, 48, 64))
"""Capacities of single and master/standby instances. Read/write splitting starts at 1 GB."""

OFFERED_SHARD_SIZES = (1, 2, 4, 8, 16)
OFFERED_SHARDS = (*range(1, 17), 24, 32, 48, 64, 96, 128)
"""Listed numbers of shards. Spec codes with any other number up to MAX_SHARDS are valid too."""

VOTING_SHARDS = 3
"""Shards from which on the primaries of a cluster can replace one of themselves: a majority of them must vote."""

_GRAMMAR = re.compile(
    r"redis\.(?P<mode>single|ha|cluster|proxy)\.(?P<cpu>xu1|au1)\.(?P<class>tiny|large)"
    r"(?:\.(?P<kind>[rp])(?P<copies>[1-9][0-9]?))?(?:\.s(?P<shard>[1-9][0-9]{0,2}))?\.(?P<size>[1-9][0-9]{0,3})"
)


_KINDS: dict[str, tuple[str | None, ...]] = {
    "single": (None,),
    "ha": (None, "r", "p"),
    "cluster": (None, "r"),
    "proxy": (None,),
}


class UnknownFlavor(ValueError):
    """The spec code is invalid, or its size is not sold."""


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed spec code.

    :ivar capacity_mb: capacity of the whole instance.
    :ivar copies: nodes of each shard, including the primary.
    """

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
    def shard_bytes(self) -> int:
        """`maxmemory` of each node."""
        return self.shard_mb * MEGABYTE

    def same_size(self, other: "Flavor") -> bool:
        """Whether the number and the size of the shards are the same."""
        return (self.shards, self.shard_mb) == (other.shards, other.shard_mb)

    def same_nodes(self, other: "Flavor") -> bool:
        """Whether the type, the shards and their copies are the same."""
        return self.same_size(other) and (self.cache_mode, self.copies) == (other.cache_mode, other.copies)

    @property
    def capacity_gb(self) -> str:
        """Capacity in GB as the cloud prints it: `4`, `0.125`."""
        return format((Decimal(self.capacity_mb) / 1024).normalize(), "f")


def parse(spec_code: str) -> Flavor:
    """Return the flavor of a spec code. Raises UnknownFlavor."""
    found = _GRAMMAR.fullmatch(spec_code)
    if not found:
        raise UnknownFlavor(f"{spec_code!r} is not a spec code")
    mode, tiny, size = found["mode"], found["class"] == "tiny", int(found["size"])
    megabytes = size if tiny else size * 1024
    if mode in {"cluster", "proxy"}:
        if tiny:
            raise UnknownFlavor(f"a {mode} instance is sized in GB, not {spec_code!r}")
        shards = _shards(spec_code, mode, size, found["shard"])
    else:
        if found["shard"]:
            raise UnknownFlavor(f"{mode} has no shards, so {spec_code!r} cannot size them")
        is_sold = megabytes in SINGLE_CAPACITIES_MB and tiny is (megabytes < 1024)
        if not is_sold or (tiny and found["kind"] == "p"):
            raise UnknownFlavor(f"{spec_code!r} is of a size that is not sold")
        shards = 1
    return Flavor(
        spec_code=spec_code,
        cache_mode="ha_rw_split" if found["kind"] == "p" else mode,
        cpu_type="x86_64" if found["cpu"] == "xu1" else "aarch64",
        capacity_mb=megabytes,
        shards=shards,
        copies=_copies(spec_code, mode, found["kind"], found["copies"]),
    )


def _shards(spec_code: str, mode: str, size: int, shard_size: str | None) -> int:
    defaults = PROXY_SHARDS if mode == "proxy" else DEFAULT_SHARDS
    if shard_size is None:
        if size not in defaults:
            raise UnknownFlavor(f"{spec_code!r} names no shard size, and {size} GB has no usual one")
        return defaults[size]
    shards, remainder = divmod(size, int(shard_size))
    if remainder or not 1 <= shards <= MAX_SHARDS:
        raise UnknownFlavor(f"{size} GB is not 1 to {MAX_SHARDS} shards of {shard_size} GB")
    return shards


def _copies(spec_code: str, mode: str, kind: str | None, copies: str | None) -> int:
    """Return the copies of each shard. rN is for master/standby and cluster, pN for read/write splitting; single and
    proxy take neither."""
    if kind not in _KINDS[mode]:
        raise UnknownFlavor(f"{mode} is not combined with {kind}{copies}, as in {spec_code!r}")
    least = 1 if mode in {"single", "cluster"} else 2
    number = int(copies) if copies else 1 if mode == "single" else 2
    if not least <= number <= MAX_REPLICAS + 1:
        raise UnknownFlavor(f"{spec_code!r} asks for {number} copies of each shard")
    return number


def cluster_code(cpu: str, *, shards: int, shard_gb: int, copies: int) -> str:
    """Return the spec code of a cluster. `cpu` is `xu1` or `au1`; `copies` of each shard include the primary."""
    return f"redis.cluster.{cpu}.large.r{copies}.s{shard_gb}.{shards * shard_gb}"


def single_code(cpu: str, megabytes: int) -> str:
    """Return the spec code of a single instance. It is valid if `megabytes` is one of SINGLE_CAPACITIES_MB."""
    size = f"tiny.{megabytes}" if megabytes < 1024 else f"large.{megabytes // 1024}"
    return f"redis.single.{cpu}.{size}"


def ha_code(cpu: str, megabytes: int, copies: int) -> str:
    """Return the spec code of a primary/standby instance. `copies` include the primary."""
    size = f"tiny.r{copies}.{megabytes}" if megabytes < 1024 else f"large.r{copies}.{megabytes // 1024}"
    return f"redis.ha.{cpu}.{size}"


def machine_cpu_type() -> str:
    """Return the cloud's name of this machine's processor type."""
    return "aarch64" if platform.machine().lower() in {"aarch64", "arm64"} else "x86_64"


def offered(cpu_type: str) -> Iterator[Flavor]:
    """Yield all listed flavors of a processor type: clusters with and without a shard size in the spec code, then
    single and primary/standby instances."""
    cpu = "xu1" if cpu_type == "x86_64" else "au1"
    for copies in (1, 2, 3):
        prefix = f"redis.cluster.{cpu}.large.r{copies}"
        for gigabytes in DEFAULT_SHARDS:
            yield parse(f"{prefix}.{gigabytes}")
        for shard_gb in OFFERED_SHARD_SIZES:
            for shards in OFFERED_SHARDS:
                yield parse(f"{prefix}.s{shard_gb}.{shards * shard_gb}")
    for megabytes in SINGLE_CAPACITIES_MB:
        yield parse(single_code(cpu, megabytes))
    for copies in range(2, MAX_REPLICAS + 2):
        for megabytes in SINGLE_CAPACITIES_MB:
            yield parse(ha_code(cpu, megabytes, copies))
