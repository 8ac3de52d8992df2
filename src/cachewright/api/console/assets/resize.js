// Another size for an instance: planned first, then confirmed.

import { ask } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, show, table } from "/console/dom.js";
import { code, cpu, isCluster, memoryChoice } from "/console/flavor.js";
import { number, seconds, size } from "/console/format.js";

const MB = 1024 * 1024;

export async function resize(live) {
  const known = await ask("GET", `instances/${live.instance_id}`);
  const form = isCluster(known.spec_code) ? clusterForm(known) : await memoryForm(known);
  const plan = h("div", { class: "plan", "aria-live": "polite" });
  const planButton = h("button", { type: "button", "data-key": "plan", onclick: look }, "Plan");
  let planned = null;

  const box = dialog(`Resize ${live.name}`,
    [...form.fields, planButton, plan],
    "Resize", async () => {
      await ask("POST", `instances/${live.instance_id}/resize`,
        { spec_code: planned, new_capacity: form.gigabytes() });
      const { tasks } = await ask("GET", `instances/${live.instance_id}/tasks?limit=1`);
      if (tasks[0]) location.hash = `#/instances/${live.instance_id}`;
    }, { ready: false });

  for (const control of form.controls) control.addEventListener("input", forget);

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
      const spec = form.specCode();
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

/** Sizes of a cluster: how many shards, and their memory. */
function clusterForm(known) {
  const shardGb = known.max_memory / 1024 / known.sharding_count;
  const shards = h("input", { type: "number", min: 1, max: 128, value: String(known.sharding_count), required: true });
  const memory = h("input", { type: "number", min: 1, max: 999, value: String(shardGb), required: true });
  return {
    fields: [field("Shards", shards, `${known.sharding_count} now`), field("Memory of a shard, GB", memory, `${shardGb} now`)],
    controls: [shards, memory],
    specCode: () => code(cpu(known.spec_code), known.replica_count, Number(memory.value), Number(shards.value)),
    gigabytes: () => Number(shards.value) * Number(memory.value),
  };
}

/** The other sizes that an instance of one node can have. */
async function memoryForm(known) {
  const { flavors } = await ask("GET", `flavors?instance_id=${known.instance_id}`);
  const memory = memoryChoice(flavors);
  return {
    fields: [field("Memory of the node", memory, `${size(known.max_memory * MB)} now`)],
    controls: [memory],
    specCode: () => memory.value,
    gigabytes: () => Number(flavors.find((flavor) => flavor.spec_code === memory.value).capacity[0]),
  };
}

function drawn(plan) {
  const rows = plan.steps.flatMap((step) => step.sub_steps.map((sub) => [sub.sub_step_name, sub.slots ? number(sub.slots) : "",
    sub.keys ? number(sub.keys) : "", sub.bytes ? size(sub.bytes) : "", seconds(sub.seconds)]));
  if (!isCluster(plan.spec_code)) {
    return [h("p", {}, "The node gets its new memory while it serves, in about ", h("b", {}, seconds(plan.seconds)), ". Nothing was touched."),
      blockers(plan)];
  }
  return [
    h("p", {}, h("b", {}, `${plan.shards_before} to ${plan.shards_after} shards`), `: ${number(plan.slots)} slots with `,
      `${number(plan.keys)} keys and ${size(plan.bytes)} move, in about `, h("b", {}, seconds(plan.seconds)), ". Nothing was touched."),
    blockers(plan),
    table("Steps of the plan", ["Sub-step", "Slots", "Keys", "Bytes", "About"], rows, { right: ["Slots", "Keys", "Bytes", "About"] }),
  ];
}

function blockers(plan) {
  return plan.blockers.length > 0 && h("ul", { class: "wrong", role: "alert" },
    plan.blockers.map((blocker) => h("li", {}, `${blocker.reason} (${blocker.error_code})`)));
}
