"""Rules that filter clients of nodes: how they are written, and when they are loaded."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cachewright.hosts.client_firewall import ClientFirewall, Filtered, FirewallFailed, ruleset

PORTS = Filtered("10.0.0.5", (6380, 6379), ("10.0.0.0/8", "10.1.0.0/16", "fd00::/8"))


def test_networks_are_of_the_family_of_the_node_and_there_once() -> None:
    text = ruleset("t", 1000, [PORTS, Filtered("fd00::5", (7000,), ("10.0.0.0/8",))])
    assert text.startswith("table inet t\ndelete table inet t\n")
    assert "ip daddr 10.0.0.5 tcp dport { 6379, 6380 } ip saddr != { 10.0.0.0/8 } reject with tcp reset\n" in text
    assert "ip6 daddr fd00::5 tcp dport { 7000 } reject with tcp reset\n" in text, (
        "no address of its family may connect"
    )
    assert "meta skuid 1000 accept\n" in text


def test_without_a_whitelist_there_is_no_table() -> None:
    assert ruleset("t", 0, []) == "table inet t\ndelete table inet t\n"


class Nft:
    """A program in place of nft that keeps what it loads, and prints it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "nft"
        self.loads, self._rules, self._refusal = folder / "loads", folder / "rules", folder / "refusal"
        self.path.write_text(
            f'#!/bin/sh\nif [ -e {self._refusal} ]; then echo "Operation not\npermitted" >&2; exit 1; fi\n'
            f'if [ "$1" = list ]; then /bin/cat {self._rules}; else echo "$*" >> {self.loads}; '
            f"/bin/cat > {self._rules}; fi\n"
        )
        self.path.chmod(0o700)

    def count(self) -> int:
        return len(self.loads.read_text().splitlines())

    def flush(self) -> None:
        self._rules.write_text("")

    def refuse(self, *, refuses: bool) -> None:
        self._refusal.touch() if refuses else self._refusal.unlink()


@pytest.fixture
def nft(tmp_path: Path) -> Nft:
    return Nft(tmp_path)


def read() -> Sequence[Filtered]:
    return [PORTS]


def test_rules_are_loaded_again_only_if_they_differ(nft: Nft) -> None:
    firewall = ClientFirewall(nft.path, Path("/data"), 0)
    firewall.ensure(read)
    firewall.ensure(read)
    assert nft.count() == 1
    firewall.ensure(lambda: [])
    firewall.ensure(read)
    assert nft.count() == 3
    firewall.forget_if_changed()
    firewall.ensure(read)
    assert nft.count() == 3
    nft.flush()
    firewall.forget_if_changed()
    firewall.ensure(read)
    assert nft.count() == 4


def test_a_failure_tells_its_reason_and_is_tried_again(nft: Nft, tmp_path: Path) -> None:
    firewall = ClientFirewall(nft.path, Path("/data"), 0)
    nft.refuse(refuses=True)
    for act in (firewall.check, lambda: firewall.ensure(read)):
        with pytest.raises(FirewallFailed, match="refuses: Operation not permitted"):
            act()
    nft.refuse(refuses=False)
    firewall.ensure(read)
    assert nft.count() == 1
    with pytest.raises(FirewallFailed, match="does not start: No such file"):
        ClientFirewall(tmp_path / "none", Path("/data"), 0).check()
