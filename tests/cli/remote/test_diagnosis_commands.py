"""`cachewright instances diagnosis`, typed at a real server."""

from collections.abc import Callable
from typing import Any

from valkey import Valkey

from commands import Run
from sdk_calls import PASSWORD, created, show


def test_keys_slow_commands_and_clients_are_shown(client: Any, run: Run, told: Callable[..., Any]) -> None:
    instance_id = created(client, 1, name="looked-into")
    words = ("instances", "diagnosis")
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, client_name="app") as app:
        app.rpush("basket", *range(300))
        app.eval("local began = os.clock() while os.clock() - began < 0.02 do end", 0)
        nothing = run(*words, "keys", "looked-into")
        assert (nothing.returncode, "has no analysis" in nothing.stderr) == (1, True)
        analysed = run(*words, "analyse", "looked-into", "--wait")
        assert analysed.returncode == 0, analysed.stderr
        assert "basket" in run(*words, "keys", "looked-into").stdout
        assert "os.clock" in run(*words, "slow-log", "looked-into", "--sort", "duration").stdout
        (connection,) = [one for one in told(*words, "clients", "looked-into")["clients"] if one["name"] == "app"]
        assert run(*words, "close-clients", "looked-into", connection["addr"]).returncode == 0
        assert run(*words, "close-clients", "looked-into", "--all", "--wait").returncode == 0
        assert str(app.client_id()) != connection["id"]
    assert run(*words, "close-clients", "looked-into").returncode == 2
    assert run(*words, "schedule", "looked-into", "--at", "03:00", "--at", "22:30").stdout == "03:00, 22:30\n"
    assert run(*words, "schedule", "looked-into", "--off").stdout == "off\n"
    refused = run(*words, "analyse", "looked-into", "hot")
    assert (refused.returncode, "DCS.4919" in refused.stderr) == (3, True)
