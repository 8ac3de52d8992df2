"""Files by which a proxy and the nodes behind it know each other."""

from cachewright.operations.proxies import files_for_nodes
from cachewright.valkey.certificates import authority_certificate, client_certificate, is_usable, new_authority
from cachewright.valkey.haproxy import IDENTITY_FILE, NODES_FILE

AUTHORITY = new_authority("i")


def test_a_proxy_keeps_its_key_so_that_connections_stay_open() -> None:
    own = client_certificate(AUTHORITY, "proxy")
    assert files_for_nodes(own, AUTHORITY) == {NODES_FILE: authority_certificate(AUTHORITY), IDENTITY_FILE: own}


def test_a_key_that_nodes_do_not_know_is_replaced() -> None:
    for former in (None, "", client_certificate(new_authority("other"), "proxy")):
        made = files_for_nodes(former, AUTHORITY)[IDENTITY_FILE]
        assert made != former
        assert is_usable(made, AUTHORITY)
