// What happens in a live instance: big and hot keys, slow commands, and connections of clients. Nodes are queried on request.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, show, status, table } from "/console/dom.js";
import { isCluster } from "/console/flavor.js";
import { number, size, time } from "/console/format.js";

const HOUR_MS = 3600 * 1000;
const ENTRIES = 100;
const CLIENTS = 1000;
const SUBJECTS = [["big", "Big keys"], ["hot", "Hot keys"]];

/** Records and schedules of both kinds of analyses. */
export function analyses(id) {
  return Promise.all(SUBJECTS.map(async ([subject]) => {
    const [{ records }, schedule] = await Promise.all([`${subject}key-tasks`, `${subject}key/autoscan`].map((path) => ask("GET", `instances/${id}/${path}`)));
    return { records, schedule };
  }));
}

/** Whether an analysis has not ended. */
export function analysing(known) {
  return known.some(({ records }) => records.some((record) => ["waiting", "running"].includes(record.status)));
}

/** Analyses of an instance, and buttons that query its nodes; `result` shows what they answer. Calls `done` when a task begins. */
export function diagnosis(state, known, result, done) {
  const path = `instances/${state.instance_id}`;
  const button = (key, text, act, attributes = {}) => h("button", { type: "button", class: "quiet", "data-key": key, onclick: act, ...attributes }, text);
  const shown = (content) => async () => show(result, await content().catch((error) => h("p", { class: "wrong", role: "alert" }, error.message)));
  return [
    table("Analyses of keys", ["Keys", "Begun", "Status", "Type", "Result"], SUBJECTS.flatMap(([subject, title], at) => known[at].records.slice(0, 3).map((record) => [
      title, time(record.started_at ?? record.created_at), status(record.status), record.scan_type === "auto" ? "schedule" : "manual",
      may("operator") && record.status === "success" ? button(`keys-${record.id}`, "Show", shown(() => keys(path, subject, title, record)),
        { "aria-label": `Show ${title.toLowerCase()} of ${time(record.created_at)}` }) : ""])), { empty: "No analyses yet." }),
    h("p", { class: "note" }, SUBJECTS.map(([, title], at) => `${title}: ${known[at].schedule.enable_auto_scan ? `daily at ${known[at].schedule.schedule_at.join(", ")} UTC` : "no schedule"}. `)),
    may("operator") && h("div", { class: "buttons" },
      SUBJECTS.map(([subject, title]) => button(`analyse-${subject}`, `Find ${title.toLowerCase()}`, () => start(path, subject, title, done), { disabled: state.status !== "RUNNING" })),
      button("analysis-schedule", "Schedule analyses", () => change(state, path, known, done)),
      button("slow-log", "Slow commands", shown(() => slowLog(path))),
      button("clients", "Clients", shown(() => clients(state, path, shown, done)))),
  ];
}

function start(path, subject, title, done) {
  const about = subject === "big" ? "Finds the largest values. The nodes look at all keys; replicas do it where there are some."
    : "Finds the most used keys. The primaries look at all keys. The parameter maxmemory-policy must be allkeys-lfu or volatile-lfu.";
  dialog(`Find ${title.toLowerCase()}`, [h("p", {}, about)], "Start", async () => {
    await ask("POST", `${path}/${subject}key-task`);
    done();
  });
}

async function keys(path, subject, title, record) {
  const analysis = await ask("GET", `${path}/${subject}key-task/${record.id}`);
  const hot = subject === "hot";
  const rows = analysis.keys.map((key) => [h("code", { class: "wide" }, key.name), key.type, key.db, key.unit === "byte" ? size(key.size) : `${number(key.size)} elements`,
    ...(hot ? [key.freq] : []), key.shard ?? ""]);
  return [h("h3", {}, `${title}, ${time(analysis.finished_at)}`),
    table(title, ["Key", "Type", "DB", "Size", ...(hot ? ["Used"] : []), "Shard"], rows, { right: ["DB", "Size", "Used"], empty: "No keys." })];
}

async function slowLog(path) {
  const now = Date.now();
  const answer = await ask("GET", `${path}/slowlog?start_time=${now - HOUR_MS}&end_time=${now + HOUR_MS}&limit=${ENTRIES}`);
  return [h("h3", {}, "Slow commands of the last hour"),
    table("Slow commands", ["Begun", "Milliseconds", "Shard", "Role", "Client", "Command"], answer.slowlogs.map((item) =>
      [time(item.start_time), item.duration, item.shard_name ?? "", item.node_role === "master" ? "primary" : "replica", item.client_ip ?? item.username,
        h("code", { class: "wide" }, item.command)]), { right: ["Milliseconds"], empty: "None." }),
    answer.silent_nodes.map((node) => h("p", { class: "note" }, `Node ${node} does not respond.`))];
}

async function clients(state, path, shown, done) {
  const { nodes } = await ask("GET", `${path}/logical-nodes`);
  const lists = await Promise.all(nodes.filter((node) => node.status === "Active").map(async (node) =>
    ({ node, list: await ask("GET", `${path}/clients?node_id=${node.node_id}&limit=${CLIENTS}&sort=age&order=desc`) })));
  const rows = lists.flatMap(({ node, list }) => list.clients.map((client) => [client.addr, client.name, client.user, client.cmd, client.age, client.idle,
    `${isCluster(state.spec_code) ? `${node.group_name}, ` : ""}${node.node_type === "master" ? "primary" : "replica"}`,
    h("button", { type: "button", class: "danger quiet", "data-key": `close-${client.addr}`, "aria-label": `Close ${client.addr}`,
      onclick: shown(async () => {
        await ask("POST", `${path}/clients/kill`, { node_id: node.node_id, client_addrs: [client.addr] });
        return clients(state, path, shown, done);
      }) }, "Close")]));
  return [h("h3", {}, `Connections of clients: ${number(lists.reduce((sum, { list }) => sum + list.count, 0))}`),
    table("Connections of clients", ["Client", "Name", "User", "Last command", "Age, s", "Idle, s", "Node", "Change"], rows, { right: ["Age, s", "Idle, s"], empty: "None." }),
    rows.length > 0 && h("div", { class: "buttons" }, h("button", { type: "button", class: "danger quiet", "data-key": "close-all", onclick: () => closeAll(state, path, done) }, "Close all"))];
}

function closeAll(state, path, done) {
  dialog(`Close all connections of ${state.name}`, [h("p", {}, "This closes the connections of all clients of all nodes. They may connect again.")], "Close all connections", async () => {
    await ask("POST", `${path}/clients/kill-all`, { kill_all_nodes: true });
    done();
  }, { danger: true });
}

function change(state, path, known, done) {
  const times = SUBJECTS.map(([, title], at) => {
    const { enable_auto_scan: active, schedule_at: listed } = known[at].schedule;
    return [title, h("input", { autocomplete: "off", value: active ? listed.join(", ") : "" })];
  });
  dialog(`Schedule analyses of ${state.name}`, times.map(([title, input]) => field(title, input, "Such as 03:00, 22:30, in UTC; empty: none")), "Change", async () => {
    for (const [at, [subject]] of SUBJECTS.entries()) {
      const chosen = times[at][1].value.split(/[\s,]+/).filter(Boolean);
      await ask("PUT", `${path}/${subject}key/autoscan`, { enable_auto_scan: chosen.length > 0, schedule_at: chosen });
    }
    done();
  });
}
