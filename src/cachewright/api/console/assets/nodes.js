// What can be done with one node: switchover, priority, rebuild, stop and start.

import { ask } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h } from "/console/dom.js";

/** Button that opens the dialog of a node; empty while a task of the instance runs. `changed` runs once a task exists. */
export function nodeButton(state, shard, node, changed) {
  if (state.task) return "";
  return h("button", { type: "button", class: "quiet small", "data-key": `node-${node.node_id}`,
    "aria-label": `Change node ${node.address}`, onclick: () => change(state, shard, node, changed) }, "Change");
}

function change(state, shard, node, changed) {
  const id = state.instance_id;
  const replica = `groups/${shard.group_id}/replications/${node.node_id}`;
  const deeds = {
    switchover: ["Make it the primary of its shard", "It takes over all slots. Clients wait for a fraction of a second; no acknowledged write is lost.",
      () => ask("POST", `instance/${id}/${replica}/async-switchover`)],
    priority: ["Set its priority", "Replicas take over in this order: 1 first, 100 last, 0 never.",
      () => ask("POST", `instances/${id}/${replica}/slave-priority`, { slave_priority_weight: Number(weight.value) })],
    rebuild: ["Rebuild it", "It gets all data of its primary again. Its former files are kept on the host.",
      () => ask("POST", `instances/${id}/nodes/${node.node_id}/rebuild`)],
    stop: ["Stop it", "It does not run until it is started again. If it is a primary, a replica takes over first.",
      () => ask("PUT", `instances/${id}/nodes/status`, { action: "stop", node_ids: [node.node_id] })],
    start: ["Start it", "It gets the changes that it has missed.",
      () => ask("PUT", `instances/${id}/nodes/status`, { action: "start", node_ids: [node.node_id] })],
  };
  const possible = !node.should_run ? ["start"] : node.role === "replica" ? ["switchover", "priority", "rebuild", "stop"]
    : node.status === "Active" ? ["stop"] : ["rebuild", "stop"];
  const weight = h("input", { type: "number", min: 0, max: 100, step: 1, required: true, value: node.priority });
  const priority = field("Priority", weight);
  const note = h("p", {});
  const choice = h("select", { onchange: describe }, possible.map((deed) => h("option", { value: deed }, deeds[deed][0])));
  function describe() {
    note.textContent = deeds[choice.value][1];
    priority.hidden = choice.value !== "priority";
  }
  describe();
  dialog(`Change node ${node.address}`, [h("p", { class: "note" }, `${node.role} of ${shard.group_name}, ${node.node_id}`), field("Change", choice), note, priority],
    "Change", async () => {
      await deeds[choice.value][2]();
      changed();
    });
}
