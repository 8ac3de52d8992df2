// Page of one instance: owners of slots, statistics of the last hour, nodes, tasks, diagnosis, backups, connections, accounts and parameters.

import { accounts } from "/console/accounts.js";
import { ask, follow, may } from "/console/api.js";
import { backups } from "/console/backups.js";
import { chart } from "/console/chart.js";
import { colour, shardOf } from "/console/colours.js";
import { connections } from "/console/connections.js";
import { analyses, analysing, diagnosis } from "/console/diagnosis.js";
import { dialog } from "/console/dialog.js";
import { bar, h, say, show, status, table } from "/console/dom.js";
import { isCluster, isSingle } from "/console/flavor.js";
import { number, seconds, size } from "/console/format.js";
import { migrations, migrationsInto, unfinished } from "/console/migrations.js";
import { nodeButton } from "/console/nodes.js";
import { parameters } from "/console/parameters.js";
import { resize } from "/console/resize.js";
import { restore } from "/console/restore.js";
import { ring } from "/console/ring.js";
import { version } from "/console/version.js";
import { ENDED, taskTable } from "/console/tasks.js";

const STATISTICS_MS = 5000;
const TASKS_MS = 1000;
const BACKUPS = 50;
const CHARTS = [["Memory in use", "used_memory", size], ["Keys", "keys", number],
  ["Commands per second", "ops_per_second", number], ["Sent", "output_kbps", (kb) => `${size(kb * 1024)}/s`]];

export async function instancePage(main, { signal, titled }, id) {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const servers = h("p", { class: "note versions" });
  const [heading, faults, running, picture, shards, charts, tasks, looks, answers, copies, sources, access, users, settings] = Array.from({ length: 14 }, () => h("div"));
  const panel = (title, name, content) => h("section", { class: `card ${name}` }, h("h2", {}, title), content);
  const [slotsPanel, nodesPanel] = [panel("Slots", "slots", picture), panel("Shards", "shards", shards)];
  const pair = h("div", { class: "two" }, slotsPanel, nodesPanel);
  show(main, wrong, heading, servers, faults, running, pair,
    panel("The last hour", "hour", charts), panel("Tasks", "tasks", tasks),
    panel("Diagnosis", "diagnosis", h("div", {}, looks, answers)), panel("Backups", "backups", copies),
    panel("Migration from outside", "sources", sources),
    panel("Connections", "connections", access), panel("Accounts", "accounts", users), panel("Parameters", "parameters", settings));

  let spec = null;
  let drawn = null;
  let taskId;
  let nextTasks;
  let nextBackups;
  let nextSources;
  let nextLooks;

  const draw = (event, state) => {
    if (signal.aborted) return;
    if (event === "end") {
      show(heading, h("p", { class: "gone" }, "The instance was deleted."), h("a", { href: "#/instances" }, "All instances"));
      show(faults);
      show(running);
      return;
    }
    titled(state.name);
    show(heading, head(state, drawTasks));
    show(faults, state.incidents.map((incident) =>
      h("p", { class: "failure" }, h("strong", {}, incident.error_code), ` ${incident.detail}`)));
    show(running, state.task && busy(state.task));
    const cluster = isCluster(state.spec_code);
    pair.classList.toggle("two", cluster);
    slotsPanel.hidden = !cluster;
    nodesPanel.querySelector("h2").textContent = cluster ? "Shards" : isSingle(state.spec_code) ? "Node" : "Nodes";
    if (cluster) show(picture, ring(state), legend(state));
    show(shards, shardTable(state, drawTasks));
    if (spec !== state.spec_code || drawn !== state.status || taskId !== state.task?.task_id) {
      if (drawn && drawn !== state.status) say(`${state.name} is ${state.status}`);
      [spec, drawn, taskId] = [state.spec_code, state.status, state.task?.task_id];
      drawTasks();
      drawParameters(state.name);
      version(servers, state, drawTasks);
      drawAccounts(state);
      drawConnections(state);
      drawBackups(state);
      drawSources(state);
      drawDiagnosis(state);
    }
  };

  /** Repeats until all tasks have ended: a short one may leave no trace in the events of the instance. */
  async function drawTasks() {
    clearTimeout(nextTasks);
    const answer = await ask("GET", `instances/${id}/tasks?limit=10`).catch(() => null);
    if (!answer || signal.aborted) return;
    show(tasks, taskTable(answer.tasks));
    if (answer.tasks.some((task) => !ENDED.includes(task.status))) {
      clearTimeout(nextTasks);
      nextTasks = setTimeout(() => signal.aborted || drawTasks(), TASKS_MS);
    }
  }

  async function drawParameters(name) {
    const answer = await ask("GET", `instances/${id}/configs`).catch(() => null);
    const done = () => Promise.all([drawTasks(), drawParameters(name)]);
    if (answer && !signal.aborted) show(settings, ...parameters(id, name, answer, done));
  }

  /** Repeats while a migration runs, because its lag changes. */
  async function drawSources(state) {
    clearTimeout(nextSources);
    const known = await migrationsInto(id).catch(() => null);
    if (!known || signal.aborted) return;
    show(sources, ...migrations(state, known, () => Promise.all([drawTasks(), drawSources(state)])));
    if (unfinished(known)) {
      clearTimeout(nextSources);
      nextSources = setTimeout(() => signal.aborted || drawSources(state), TASKS_MS);
    }
  }

  /** Repeats while keys are analysed. */
  async function drawDiagnosis(state) {
    clearTimeout(nextLooks);
    const known = await analyses(id).catch(() => null);
    if (!known || signal.aborted) return;
    show(looks, ...diagnosis(state, known, answers, () => Promise.all([drawTasks(), drawDiagnosis(state)])));
    if (analysing(known)) {
      clearTimeout(nextLooks);
      nextLooks = setTimeout(() => signal.aborted || drawDiagnosis(state), TASKS_MS);
    }
  }

  async function drawAccounts(state) {
    const [{ accounts: known }, { rename_commands: disabled }] = await Promise.all(
      ["accounts", "rename-commands"].map((path) => ask("GET", `instances/${id}/${path}`))).catch(() => [{}, {}]);
    const done = () => Promise.all([drawTasks(), drawAccounts(state)]);
    if (known && !signal.aborted) show(users, ...accounts(state, known, disabled, done));
  }

  async function drawConnections(state) {
    const [tls, whitelist] = await Promise.all(
      [`instances/${id}/ssl`, `instance/${id}/whitelist`].map((path) => ask("GET", path))).catch(() => []);
    const done = () => Promise.all([drawTasks(), drawConnections(state)]);
    if (whitelist && !signal.aborted) show(access, ...connections(state, tls, whitelist, done));
  }

  /** Repeats while a backup is made or deleted, and until a new write log has data. */
  async function drawBackups(state) {
    clearTimeout(nextBackups);
    const [listed, shown, log] = await Promise.all(
      [`instances/${id}/backups?limit=${BACKUPS}`, `instances/${id}`, `instances/${id}/write-log`].map((path) => ask("GET", path))).catch(() => []);
    if (!listed || signal.aborted) return;
    const records = listed.backup_record_response;
    const done = () => Promise.all([drawTasks(), drawBackups(state)]);
    show(copies, ...backups({ ...state, task: shown.task }, records, shown.instance_backup_policy?.policy, log, done));
    const isFirst = log.keep_hours > 0 && !log.windows.length;
    if (isFirst || records.some((record) => !["succeed", "failed"].includes(record.status))) {
      clearTimeout(nextBackups);
      nextBackups = setTimeout(() => signal.aborted || drawBackups(state), TASKS_MS);
    }
  }

  async function drawStatistics() {
    const answer = await ask("GET", `instances/${id}/statistics`).catch(() => null);
    if (signal.aborted) return;
    if (answer) {
      show(charts, h("div", { class: "charts" }, CHARTS.map(([title, field, format]) =>
        chart(title, answer.samples.map((sample) => [Date.parse(sample.at), sample[field]]), format))));
    }
    setTimeout(() => signal.aborted || drawStatistics(), STATISTICS_MS);
  }

  try {
    draw("state", await ask("GET", `instances/${id}/state`));
  } catch (error) {
    wrong.textContent = error.message;
    return;
  }
  follow(`instances/${id}/state`, ["state", "end"], draw, signal, (text) => (wrong.textContent = text));
  drawStatistics();
}

function head(state, drawTasks) {
  const changing = state.task || state.status !== "RUNNING";
  return h("div", { class: "heading" },
    h("h1", {}, state.name, " ", status(state.status), state.error_code && h("code", {}, state.error_code)),
    h("span", { class: "note" }, state.spec_code),
    h("div", { class: "buttons" },
      may("operator") && h("button", { type: "button", "data-key": "resize", disabled: changing, onclick: () => resize(state, drawTasks) }, "Resize"),
      may("operator") && h("button", { type: "button", class: "quiet", "data-key": "restart", disabled: changing, onclick: () => restart(state, drawTasks) }, "Restart"),
      may("operator") && h("button", { type: "button", class: "danger quiet", "data-key": "flush", disabled: changing, onclick: () => flush(state, drawTasks) }, "Flush"),
      may("operator") && h("button", { type: "button", class: "danger quiet", "data-key": "restore", disabled: changing, onclick: () => restore(state, drawTasks) }, "Restore"),
      may("admin") && h("button", { type: "button", class: "danger quiet", "data-key": "delete", onclick: () => remove(state) }, "Delete")));
}

function busy(task) {
  return h("a", { class: "card running", href: `#/tasks/${task.task_id}`, "data-key": "running" },
    h("strong", {}, task.name), status(task.status), bar(task.progress, `${task.name}: progress`),
    h("span", {}, `${task.progress} %`), h("span", {}, `${seconds(task.remain_time)} left`));
}

function legend(state) {
  return h("ul", { class: "legend" }, state.shards.map((shard) =>
    h("li", {}, swatch(shard.group_name), `${shard.group_name} `, h("b", {}, number(shard.slot_count)))));
}

function shardTable(state, changed) {
  if (!isCluster(state.spec_code)) {
    return table(isSingle(state.spec_code) ? "Node" : "Nodes", ["Role", "Status", "Keys", "Memory in use", "Ops/s", "Address"],
      state.shards.flatMap((shard) => shard.nodes.map(nodeCells)), { right: ["Keys", "Ops/s"] });
  }
  const rows = state.shards.flatMap((shard) => shard.nodes.map((node, at) => [
    at ? "" : h("span", {}, swatch(shard.group_name), shard.group_name), at ? "" : number(shard.slot_count), ...nodeCells(node), ...(may("operator") ? [nodeButton(state, shard, node, changed)] : [])]));
  return table("Shards and their nodes", ["Shard", "Slots", "Role", "Status", "Keys", "Memory in use", "Ops/s", "Address", ...(may("operator") ? ["Change"] : [])], rows,
    { right: ["Slots", "Keys", "Ops/s"] });
}

function nodeCells(node) {
  return [node.role, status(node.should_run ? node.status : "Stopped"), number(node.keys),
    h("span", { class: "used" }, bar((100 * (node.used_memory ?? 0)) / node.max_memory, `Memory of ${node.address} in use`),
      size(node.used_memory)), number(node.ops_per_second), node.address];
}

function swatch(group) {
  return h("span", { class: "swatch", style: { background: colour(shardOf(group)) }, "aria-hidden": "true" });
}

/** `restarted` runs once the task exists: it may end before the next event of the instance. */
function restart(state, restarted) {
  const text = isCluster(state.spec_code)
    ? "The nodes restart one after another. No data is lost. A shard with replicas stays available; other shards are unavailable for a few seconds."
    : isSingle(state.spec_code)
      ? "The node restarts. No data is lost. The instance is unavailable until the node is up again."
      : "The replicas restart. One of them then becomes the primary, and the old primary restarts. No data is lost. Clients wait for about a second.";
  dialog(`Restart ${state.name}`, [h("p", {}, text)], "Restart", async () => {
    await changeStatus(state, "restart");
    restarted();
  });
}

async function changeStatus(state, action) {
  const { results } = await ask("PUT", "instances/status", { instances: [state.instance_id], action });
  if (results[0].result !== "success") throw new Error(`${results[0].error_msg} (${results[0].error_code})`);
}

function flush(state, flushed) {
  const name = h("input", { required: true, autocomplete: "off", "aria-label": "Name of the instance" });
  dialog(`Flush ${state.name}`, [h("p", {}, "This permanently deletes all keys of the instance. Its nodes and parameters stay. Type its name to confirm."), name], "Flush",
    async () => {
      if (name.value !== state.name) throw new Error("The name does not match.");
      await changeStatus(state, "flush");
      flushed();
    }, { danger: true });
}

function remove(state) {
  const name = h("input", { required: true, autocomplete: "off", "aria-label": "Name of the instance" });
  dialog(`Delete ${state.name}`, [h("p", {}, "This permanently deletes the instance and all its data. Type its name to confirm."), name], "Delete",
    async () => {
      if (name.value !== state.name) throw new Error("The name does not match.");
      await ask("DELETE", `instances/${state.instance_id}`);
    }, { danger: true });
}
