// Another size for an instance: planned first, then confirmed.

import { ask } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, show, table } from "/console/dom.js";
import { code, cpu } from "/console/flavor.js";
import { number, seconds, size } from "/console/format.js";

export async function resize(live) {
  const known = await ask("GET", `instances/${live.instance_id}`);
  const shardGb = known.capacity / known.sharding_count;
  const shards = h("input", { type: "number", min: 1, max: 128, value: String(known.sharding_count), required: true });
  const memory = h("input", { type: "number", min: 1, max: 999, value: String(shardGb), required: true });
  const plan = h("div", { class: "plan", "aria-live": "polite" });
  const planButton = h("button", { type: "button", "data-key": "plan", onclick: look }, "Plan");
  let planned = null;

  const wished = () => code(cpu(known.spec_code), known.replica_count, Number(memory.value), Number(shards.value));
  const box = dialog(`Resize ${live.name}`,
    [field("Shards", shards, `${known.sharding_count} now`), field("Memory of a shard, GB", memory, `${shardGb} now`), planButton, plan],
    "Resize", async () => {
      await ask("POST", `instances/${live.instance_id}/resize`,
        { spec_code: planned, new_capacity: Number(shards.value) * Number(memory.value) });
      const { tasks } = await ask("GET", `instances/${live.instance_id}/tasks?limit=1`);
      if (tasks[0]) location.hash = `#/instances/${live.instance_id}`;
    }, { ready: false });

  for (const control of [shards, memory]) control.addEventListener("input", forget);

  function forget() {
    planned = null;
    box.button.disabled = true;
    show(plan);
  }

  async function look() {
    forget();
    planButton.disabled = true;
    box.wrong.textContent = "";
    try {
      const spec = wished();
      const found = await ask("POST", `instances/${live.instance_id}/resize/plan`, { spec_code: spec });
      show(plan, ...drawn(found));
      planned = spec;
      box.button.disabled = found.blockers.length > 0;
    } catch (error) {
      box.wrong.textContent = error.message;
    } finally {
      planButton.disabled = false;
    }
  }
}

function drawn(plan) {
  const rows = plan.steps.flatMap((step) => step.sub_steps.map((sub) => [sub.sub_step_name, sub.slots ? number(sub.slots) : "",
    sub.keys ? number(sub.keys) : "", sub.bytes ? size(sub.bytes) : "", seconds(sub.seconds)]));
  return [
    h("p", {}, h("b", {}, `${plan.shards_before} to ${plan.shards_after} shards`), `: ${number(plan.slots)} slots with `,
      `${number(plan.keys)} keys and ${size(plan.bytes)} move, in about `, h("b", {}, seconds(plan.seconds)), ". Nothing was touched."),
    plan.blockers.length > 0 && h("ul", { class: "wrong", role: "alert" },
      plan.blockers.map((blocker) => h("li", {}, `${blocker.reason} (${blocker.error_code})`))),
    table("Steps of the plan", ["Sub-step", "Slots", "Keys", "Bytes", "About"], rows, { right: ["Slots", "Keys", "Bytes", "About"] }),
  ];
}
