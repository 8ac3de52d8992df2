"""What others can reach of a server."""

from pathlib import Path

import pytest

from cachewright.cli.exposure import of_network, of_nodes
from cachewright.config import Settings


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:1", "http://127.0.0.9:1", "http://localhost:1", "http://[::1]:1", "https://0.0.0.0:1"],
)
def test_loopback_and_tls_are_no_exposure(endpoint: str) -> None:
    assert list(of_network(endpoint)) == []


@pytest.mark.parametrize("endpoint", ["http://0.0.0.0:1", "http://[::]:1", "http://10.0.0.1:1", "http://a.example:1"])
def test_an_address_without_tls_is_one(endpoint: str) -> None:
    (found,) = of_network(endpoint)
    assert endpoint in found.message


def test_caches_beyond_loopback_are_an_exposure(tmp_path: Path) -> None:
    assert list(of_nodes(Settings(data_dir=tmp_path))) == []
    network = list(of_nodes(Settings(data_dir=tmp_path, node_host="10.0.0.1")))
    assert all("10.0.0.1" in found.message for found in network)
    assert "20000-23999" in network[-1].remedy, "the packaged server has no TLS for the cluster bus"
