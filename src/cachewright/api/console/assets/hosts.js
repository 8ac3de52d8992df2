// Page of the hosts: zones, capacity, and the nodes of the project that they run.

import { ask } from "/console/api.js";
import { h, show, status, table } from "/console/dom.js";
import { number, size } from "/console/format.js";

const REFRESH_MS = 5000;

export function hostsPage(main, { signal }) {
  const [list, nodes] = [h("div"), h("div")];
  const wrong = h("p", { class: "wrong", role: "alert" });
  show(main, h("div", { class: "heading" }, h("h1", {}, "Hosts")), wrong, list, h("h2", {}, "Nodes of this project"), nodes);
  let next = null;

  async function draw() {
    clearTimeout(next);
    try {
      const { hosts } = await ask("GET", "hosts");
      if (signal.aborted) return;
      show(wrong);
      show(list, hostTable(hosts));
      show(nodes, nodeTable(hosts));
    } catch (error) {
      wrong.textContent = error.message;
    }
    if (!signal.aborted) next = setTimeout(() => signal.aborted || draw(), REFRESH_MS);
  }
  draw();
}

function hostTable(hosts) {
  const columns = ["Host", "Zone", "Status", "Address", "Processors", "Memory", "Allocated", "Nodes", "Moving", "Out of reach", "Traffic"];
  return table("Hosts", columns, hosts.map((host) => [
    host.name, host.zone, status(host.reporting || host.state === "lost" ? host.state : "not reporting"), host.address, number(host.cpus),
    size(host.memory), size(host.allocated), number(host.node_count), number(host.moving_count), number(host.unreached_count), host.traffic ?? "–"]),
  { right: ["Processors", "Memory", "Allocated", "Nodes", "Moving", "Out of reach"] });
}

function nodeTable(hosts) {
  const rows = hosts.flatMap((host) => host.nodes.map((node) => [
    h("code", {}, node.node_id.slice(0, 12)), host.name, node.address, node.role, number(node.shard), node.tls ? "encrypted" : "plain",
    h("a", { href: `#/instances/${node.instance_id}`, "data-key": node.node_id }, node.instance_id)]));
  return table("Nodes", ["Node", "Host", "Address", "Role", "Shard", "Traffic between nodes", "Instance"], rows, { right: ["Shard"], empty: "No nodes yet." });
}
