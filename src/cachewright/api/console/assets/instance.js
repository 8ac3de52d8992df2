// One instance: who owns which slots, its last hour, its nodes and its tasks, all as they are now.

import { ask, follow, may } from "/console/api.js";
import { chart } from "/console/chart.js";
import { colour, shardOf } from "/console/colours.js";
import { dialog } from "/console/dialog.js";
import { bar, h, say, show, status, table } from "/console/dom.js";
import { isCluster } from "/console/flavor.js";
import { number, seconds, size } from "/console/format.js";
import { parameters } from "/console/parameters.js";
import { resize } from "/console/resize.js";
import { ring } from "/console/ring.js";
import { taskTable } from "/console/tasks.js";

const VITALS_MS = 5000;
const CHARTS = [["Memory in use", "used_memory", size], ["Keys", "keys", number],
  ["Commands a second", "ops_per_second", number], ["Sent", "output_kbps", (kb) => `${size(kb * 1024)}/s`]];

export async function instancePage(main, { signal, titled }, id) {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const [heading, running, picture, shards, charts, tasks, settings] = Array.from({ length: 7 }, () => h("div"));
  const panel = (title, name, content) => h("section", { class: `card ${name}` }, h("h2", {}, title), content);
  const [slotsPanel, nodesPanel] = [panel("Slots", "slots", picture), panel("Shards", "shards", shards)];
  const pair = h("div", { class: "two" }, slotsPanel, nodesPanel);
  show(main, wrong, heading, running, pair,
    panel("The last hour", "hour", charts), panel("Tasks", "tasks", tasks),
    panel("Parameters", "parameters", settings));

  let spec = null;
  let drawn = null;
  let taskId;

  const draw = (name, live) => {
    if (signal.aborted) return;
    if (name === "end") {
      show(heading, h("p", { class: "gone" }, "The instance is gone."), h("a", { href: "#/instances" }, "All instances"));
      show(running);
      return;
    }
    titled(live.name);
    show(heading, head(live));
    show(running, live.task && busy(live.task));
    const cluster = isCluster(live.spec_code);
    pair.classList.toggle("two", cluster);
    slotsPanel.hidden = !cluster;
    nodesPanel.querySelector("h2").textContent = cluster ? "Shards" : "Node";
    if (cluster) show(picture, ring(live), legend(live));
    show(shards, shardTable(live));
    if (spec !== live.spec_code || drawn !== live.status || taskId !== live.task?.task_id) {
      if (drawn && drawn !== live.status) say(`${live.name} is ${live.status}`);
      [spec, drawn, taskId] = [live.spec_code, live.status, live.task?.task_id];
      drawTasks();
      drawParameters(live.name);
    }
  };

  async function drawTasks() {
    const known = await ask("GET", `instances/${id}/tasks?limit=10`).catch(() => null);
    if (known && !signal.aborted) show(tasks, taskTable(known.tasks));
  }

  async function drawParameters(name) {
    const known = await ask("GET", `instances/${id}/configs`).catch(() => null);
    const done = () => Promise.all([drawTasks(), drawParameters(name)]);
    if (known && !signal.aborted) show(settings, ...parameters(id, name, known, done));
  }

  async function drawVitals() {
    const known = await ask("GET", `instances/${id}/statistics`).catch(() => null);
    if (signal.aborted) return;
    if (known) {
      show(charts, h("div", { class: "charts" }, CHARTS.map(([title, field, format]) =>
        chart(title, known.samples.map((sample) => [Date.parse(sample.at), sample[field]]), format))));
    }
    setTimeout(() => signal.aborted || drawVitals(), VITALS_MS);
  }

  try {
    draw("state", await ask("GET", `instances/${id}/state`));
  } catch (error) {
    wrong.textContent = error.message;
    return;
  }
  follow(`instances/${id}/state`, ["state", "end"], draw, signal, (text) => (wrong.textContent = text));
  drawVitals();
}

function head(live) {
  const still = live.task || live.status !== "RUNNING";
  return h("div", { class: "heading" },
    h("h1", {}, live.name, " ", status(live.status), live.error_code && h("code", {}, live.error_code)),
    h("span", { class: "note" }, live.spec_code),
    h("div", { class: "buttons" },
      may("operator") && h("button", { type: "button", "data-key": "resize", disabled: still, onclick: () => resize(live) }, "Resize"),
      may("operator") && h("button", { type: "button", class: "quiet", "data-key": "restart", disabled: still, onclick: () => restart(live) }, "Restart"),
      may("admin") && h("button", { type: "button", class: "danger quiet", "data-key": "delete", onclick: () => remove(live) }, "Delete")));
}

function busy(task) {
  return h("a", { class: "card running", href: `#/tasks/${task.task_id}`, "data-key": "running" },
    h("strong", {}, task.name), status(task.status), bar(task.progress, `${task.name}: progress`),
    h("span", {}, `${task.progress} %`), h("span", {}, `${seconds(task.remain_time)} left`));
}

function legend(live) {
  return h("ul", { class: "legend" }, live.shards.map((shard) =>
    h("li", {}, swatch(shard.group_name), `${shard.group_name} `, h("b", {}, number(shard.slot_count)))));
}

function shardTable(live) {
  if (!isCluster(live.spec_code)) {
    return table("The node", ["Role", "Status", "Keys", "Memory in use", "Ops/s", "Address"],
      live.shards.flatMap((shard) => shard.nodes.map(nodeCells)), { right: ["Keys", "Ops/s"] });
  }
  const rows = live.shards.flatMap((shard) => shard.nodes.map((node, at) => [
    at ? "" : h("span", {}, swatch(shard.group_name), shard.group_name), at ? "" : number(shard.slot_count), ...nodeCells(node)]));
  return table("Shards and their nodes", ["Shard", "Slots", "Role", "Status", "Keys", "Memory in use", "Ops/s", "Address"], rows,
    { right: ["Slots", "Keys", "Ops/s"] });
}

function nodeCells(node) {
  return [node.role, status(node.status), number(node.keys),
    h("span", { class: "used" }, bar((100 * (node.used_memory ?? 0)) / node.max_memory, `Memory of ${node.address} in use`),
      size(node.used_memory)), number(node.ops_per_second), node.address];
}

function swatch(group) {
  return h("span", { class: "swatch", style: { background: colour(shardOf(group)) }, "aria-hidden": "true" });
}

function restart(live) {
  const text = isCluster(live.spec_code)
    ? "Every node restarts, one after another. No data is lost. A shard with replicas serves on; one without is away for a few seconds."
    : "The node restarts. No data is lost. Nothing serves its clients meanwhile.";
  dialog(`Restart ${live.name}`, [h("p", {}, text)], "Restart", async () => {
    const { results } = await ask("PUT", "instances/status", { instances: [live.instance_id], action: "restart" });
    if (results[0].result !== "success") throw new Error("It cannot be restarted now.");
  });
}

function remove(live) {
  const name = h("input", { required: true, autocomplete: "off", "aria-label": "Name of the instance" });
  dialog(`Delete ${live.name}`, [h("p", {}, "The instance goes with all its data. Type its name to delete it."), name], "Delete",
    async () => {
      if (name.value !== live.name) throw new Error("This is not its name.");
      await ask("DELETE", `instances/${live.instance_id}`);
    }, { danger: true });
}
