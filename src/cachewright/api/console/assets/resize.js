// Resize dialog: shows the plan, then asks for confirmation.

import { ask } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, show, table } from "/console/dom.js";
import { code, cpu, isCluster, isSingle } from "/console/flavor.js";
import { number, seconds, size } from "/console/format.js";
import { laterChoice } from "/console/later.js";
import { modeChoice } from "/console/modes.js";

const MB = 1024 * 1024;

/** `done` is called when the task exists. */
export async function resize(state, done) {
  const instance = await ask("GET", `instances/${state.instance_id}`);
  const form = isCluster(instance.spec_code) ? clusterForm(instance, presentSize(instance)) : await typeForm(instance);
  const plan = h("div", { class: "plan", "aria-live": "polite" });
  const later = laterChoice(instance);
  const planButton = h("button", { type: "button", "data-key": "plan", onclick: look }, "Plan");
  let planned = null;

  const box = dialog(`Resize ${state.name}`,
    [...form.fields, later.field, planButton, plan],
    "Resize", async () => {
      await ask("POST", `instances/${state.instance_id}/resize`,
        { spec_code: planned, new_capacity: form.gigabytes(), execute_immediately: !later.checked(), ...form.mode() });
      await done();
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
      const preview = await ask("POST", `instances/${state.instance_id}/resize/plan`, { spec_code: spec, ...form.mode() });
      show(plan, ...describe(preview, instance));
      planned = spec;
      box.button.disabled = preview.blockers.length > 0;
    } catch (error) {
      box.wrong.textContent = error.message;
    } finally {
      planButton.disabled = false;
    }
  }
}

function presentSize(instance) {
  return { shards: instance.sharding_count, shardGb: instance.max_memory / 1024 / instance.sharding_count, hint: "currently " };
}

/** Form for an instance that is no cluster: another size, or a cluster. */
async function typeForm(instance) {
  const newShards = 3;
  const forms = {
    present: await memoryForm(instance),
    cluster: clusterForm(instance, { shards: newShards, shardGb: Math.ceil(instance.max_memory / 1024 / newShards) }),
  };
  const type = h("select", { "data-key": "type", onchange: choose },
    h("option", { value: "present" }, isSingle(instance.spec_code) ? "Single node, or with replicas" : "Primary/standby, or single node"),
    h("option", { value: "cluster" }, "Cluster"));
  choose();

  /** Disable hidden fields, so that the browser does not validate them. */
  function choose() {
    for (const [name, form] of Object.entries(forms)) {
      for (const label of form.fields) label.hidden = name !== type.value;
      for (const control of form.controls) control.disabled = name !== type.value;
    }
  }

  return {
    fields: [field("Type", type, "A cluster does not become one of the other types again"), ...forms.present.fields, ...forms.cluster.fields],
    controls: [type, ...forms.present.controls, ...forms.cluster.controls],
    mode: () => forms[type.value].mode(),
    specCode: () => forms[type.value].specCode(),
    gigabytes: () => forms[type.value].gigabytes(),
  };
}

/** Form for the number and the memory of shards, and the number of their replicas. `size` has the first values. */
function clusterForm(instance, size) {
  const shards = h("input", { type: "number", min: 1, max: 128, value: String(size.shards), required: true });
  const memory = h("input", { type: "number", min: 1, max: 999, value: String(size.shardGb), required: true });
  const now = instance.replica_count - 1;
  const hint = (value) => size.hint && `${size.hint}${value}`;
  const replicas = h("input", { type: "number", min: 0, max: 5, value: String(now), required: true });
  const mode = modeChoice("balanced", { "data-key": "mode" });
  return {
    fields: [field("Shards", shards, hint(size.shards)), field("Memory per shard, GB", memory, hint(size.shardGb)),
      field("Replicas per shard", replicas, hint(`${now}; change them without the other sizes`)), field("Mode of the migration", mode)],
    controls: [shards, memory, replicas, mode],
    mode: () => ({ migration_mode: mode.value }),
    specCode: () => code(cpu(instance.spec_code), Number(replicas.value) + 1, Number(memory.value), Number(shards.value)),
    gigabytes: () => Number(shards.value) * Number(memory.value),
  };
}

/** Form for the memory of each node, and the number of replicas, of an instance that is no cluster. */
async function memoryForm(instance) {
  const listed = await ask("GET", `flavors?instance_id=${instance.instance_id}`);
  const flavors = listed.flavors.filter((flavor) => flavor.cache_mode !== "cluster");
  const gigabytes = instance.max_memory / 1024;
  const now = instance.replica_count - 1;
  const sizes = [...new Set([gigabytes, ...flavors.map((flavor) => Number(flavor.capacity[0]))])].sort((one, other) => one - other);
  const memory = h("select", { "data-key": "memory" }, sizes.map((gb) => h("option", { value: gb, selected: gb === gigabytes }, `${gb} GB`)));
  const replicas = h("input", { type: "number", min: 0, max: 5, value: String(now), required: true, "data-key": "replicas" });
  return {
    fields: [field("Memory of each node", memory, `currently ${size(instance.max_memory * MB)}`),
      field("Replicas", replicas, `currently ${now}; 0 makes a single node. Change them without the memory`)],
    controls: [memory, replicas],
    mode: () => ({}),
    specCode() {
      const chosen = flavors.find((flavor) => Number(flavor.capacity[0]) === Number(memory.value) && flavor.replica_count === Number(replicas.value) + 1);
      if (!chosen) throw new Error("Change either the memory or the number of replicas.");
      return chosen.spec_code;
    },
    gigabytes: () => Number(memory.value),
  };
}

function describe(plan, instance) {
  const rows = plan.steps.flatMap((step) => step.sub_steps.map((sub) => [sub.sub_step_name, sub.slots ? number(sub.slots) : "",
    sub.keys ? number(sub.keys) : "", sub.bytes ? size(sub.bytes) : "", seconds(sub.seconds)]));
  if (!isCluster(plan.spec_code)) {
    const [before, after] = [plan.replicas_before, plan.replicas_after];
    const change = before === after ? "The memory changes" : `${before} to ${after} replicas`;
    return [h("p", {}, change, " online, in about ", h("b", {}, seconds(plan.seconds)), ". No change was made."),
      before * after === 0 && before !== after && h("p", {}, "The address stays. Connections of clients are closed once."),
      blockers(plan),
      before !== after && table("Steps of the plan", ["Sub-step", "Bytes", "Estimate"],
        plan.steps.flatMap((step) => step.sub_steps.map((sub) => [sub.sub_step_name, sub.bytes ? size(sub.bytes) : "", seconds(sub.seconds)])),
        { right: ["Bytes", "Estimate"] })];
  }
  const becomes = !isCluster(instance.spec_code);
  const change = becomes
    ? ["The instance becomes a ", h("b", {}, `cluster of ${plan.shards_after} shards`), " and keeps its address"]
    : plan.replicas_before === plan.replicas_after
    ? [h("b", {}, `${plan.shards_before} to ${plan.shards_after} shards`), `: ${number(plan.slots)} slots with `,
      `${number(plan.keys)} keys and ${size(plan.bytes)} move`]
    : [h("b", {}, `${plan.replicas_before} to ${plan.replicas_after} replicas per shard`)];
  return [
    h("p", {}, ...change, ", in about ", h("b", {}, seconds(plan.seconds)), ". No change was made."),
    becomes && h("p", {}, "All connections of clients are closed once. Clients must know clusters afterwards, and use database 0 alone."),
    blockers(plan),
    plan.slots > 0 && table("Modes", ["Mode", "Estimate", "Longest wait"], plan.modes.map((choice) =>
      [choice.mode === plan.migration_mode ? `${choice.mode} (chosen)` : choice.mode, seconds(choice.seconds),
        `${number(Math.round(choice.longest_wait_ms))} ms`]), { right: ["Estimate", "Longest wait"] }),
    plan.slots > 0 && !plan.clients && h("p", { class: "note" }, "No client is connected now. With clients, balanced and above all gentle take longer."),
    giantKeys(plan, becomes),
    table("Steps of the plan", ["Sub-step", "Slots", "Keys", "Bytes", "Estimate"], rows, { right: ["Slots", "Keys", "Bytes", "Estimate"] }),
  ];
}

function blockers(plan) {
  return plan.blockers.length > 0 && h("ul", { class: "wrong", role: "alert" },
    plan.blockers.map((blocker) => h("li", {}, `${blocker.reason} (${blocker.error_code})`)));
}

/** Warnings of large values in the slots that move. */
function giantKeys(plan, becomes) {
  const warnings = plan.giant_keys.map((giant) => [h("b", {}, giant.key), ` in slot ${giant.slot}: ${giant.type}`,
    giant.type === "string" ? "" : ` with ${number(giant.elements)} elements`, `, ${size(giant.bytes)}. The node that receives it `,
    `may serve no clients for ${number(Math.round(giant.stall_ms))} ms.`]);
  if (!plan.giant_keys_complete && !becomes) warnings.push(["There was not enough time to check all keys. More of them may be giant."]);
  return warnings.length > 0 && h("div", {}, h("p", {}, "Giant keys:"), h("ul", {}, warnings.map((warning) => h("li", {}, ...warning))));
}
