"""`cachewright plan`."""

from typing import Any

from cyclopts import App

from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.modes import Mode, with_mode
from cachewright.cli.remote.output import AsJson, print_json, print_table, size
from cachewright.cli.remote.sizes import MemoryGb, NewType, RemovedNodes, Replicas, ShardGb, Shards, Spec, resized
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient

app = App(name="plan", help="Preview a change without making it.")


@app.command
def resize(
    instance: Instance,
    *,
    target: Target = DEFAULT_TARGET,
    shards: Shards = None,
    shard_gb: ShardGb = None,
    replicas: Replicas = None,
    memory_gb: MemoryGb = None,
    type_: NewType = None,
    spec: Spec = None,
    remove_node: RemovedNodes = (),
    mode: Mode = None,
    json: AsJson = False,
) -> None:
    """Preview the steps of a resize, and reasons that would block it (exit code 1).

    Example: cachewright plan resize cache --shards 5
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    flavor = resized(body["spec_code"], shards, shard_gb, spec, memory_gb=memory_gb, replicas=replicas, kind=type_)
    asked = with_mode({"spec_code": flavor.spec_code, "node_list": remove_node}, mode)
    plan = server.ask("POST", f"instances/{body['instance_id']}/resize/plan", asked)
    if json:
        print_json(plan)
    else:
        rows = [
            (step["step_name"], sub["sub_step_name"], sub["slots"] or "", f"{sub['keys']:,}" if sub["keys"] else "",
             size(sub["bytes"]) if sub["bytes"] else "", f"{sub['seconds']:.1f} s")
            for step in plan["steps"]
            for sub in step["sub_steps"]
        ]  # fmt: skip
        print_table(
            ("STEP", "SUB-STEP", "SLOTS", "KEYS", "BYTES", "ESTIMATE"), rows, ("SLOTS", "KEYS", "BYTES", "ESTIMATE")
        )
        moved = (
            f"{plan['shards_before']} to {plan['shards_after']} shards: {plan['slots']:,} slots, "
            f"{plan['keys']:,} keys, {size(plan['bytes'])}"
        )
        if plan["replicas_before"] != plan["replicas_after"]:
            moved = f"{plan['replicas_before']} to {plan['replicas_after']} replicas per shard"
        change = moved if flavor.cache_mode == "cluster" else f"{body['spec_code']} to {flavor.spec_code}"
        print(f"{change}, about {plan['seconds']:.0f} s")
        if plan["slots"]:
            modes = [
                (f"{choice['mode']} (chosen)" if choice["mode"] == plan["migration_mode"] else choice["mode"],
                 f"{choice['seconds']:.1f} s", f"{choice['longest_wait_ms']:.0f} ms")
                for choice in plan["modes"]
            ]  # fmt: skip
            print_table(("MODE", "ESTIMATE", "LONGEST WAIT"), modes, ("ESTIMATE", "LONGEST WAIT"))
            if not plan["clients"]:
                print("No client is connected now. With clients, balanced takes longer, and gentle much longer.")
        print_giant_keys(plan)
    if plan["blockers"]:
        raise CommandFailed("; ".join(f"{blocker['error_code']}: {blocker['reason']}" for blocker in plan["blockers"]))


def print_giant_keys(plan: dict[str, Any]) -> None:
    """Warn of large values in the slots that move."""
    for giant in plan["giant_keys"]:
        elements = "" if giant["type"] == "string" else f" with {giant['elements']:,} elements"
        print(
            f"warning: giant key '{giant['key']}' in slot {giant['slot']}: {giant['type']}{elements}, "
            f"{size(giant['bytes'])}. The node that receives it may serve no clients for {giant['stall_ms']:.0f} ms."
        )
    if not plan["giant_keys_complete"]:
        print("warning: giant keys may be missing: there was not enough time to check all keys")
