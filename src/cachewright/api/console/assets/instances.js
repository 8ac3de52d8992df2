// Page of all instances of the project, with a form that creates instances.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { bar, h, show, status, table } from "/console/dom.js";
import { code, cpu, memoryChoice } from "/console/flavor.js";
import { number, size, time } from "/console/format.js";
import { backupChoice } from "/console/restore.js";

const REFRESH_MS = 2000;
const MB = 1024 * 1024;
const PAGE = 1000;
const PASSWORD_LENGTH = { min: 8, max: 32 }; // as in the API

export function instancesPage(main, { signal }) {
  const count = h("span", { class: "count" });
  const list = h("div");
  const wrong = h("p", { class: "wrong", role: "alert" });
  show(main, h("div", { class: "heading" }, h("h1", {}, "Instances ", count),
    may("operator") && h("button", { type: "button", onclick: create }, "Create")), wrong, list);

  async function draw() {
    try {
      const { instances, instance_num: all } = await ask("GET", `instances?include_failure=true&limit=${PAGE}`);
      if (signal.aborted) return;
      show(wrong);
      count.textContent = number(all);
      show(list, table("Instances", ["Name", "Type", "Status", "Shards", "Copies", "Memory in use", "Address", "Created"],
        instances.map(row), { right: ["Shards", "Copies"], empty: "No instances yet." }));
    } catch (error) {
      wrong.textContent = error.message;
    }
    if (!signal.aborted) setTimeout(() => signal.aborted || draw(), REFRESH_MS);
  }
  draw();
}

function row(instance) {
  const used = instance.max_memory ? (100 * instance.used_memory) / instance.max_memory : 0;
  return [h("a", { href: `#/instances/${instance.instance_id}`, "data-key": instance.instance_id }, instance.name),
    instance.cache_mode, status(instance.status),
    instance.sharding_count, instance.replica_count,
    h("span", { class: "used" }, bar(used, `Memory of ${instance.name} in use`), `${size(instance.used_memory * MB)} of ${size(instance.max_memory * MB)}`),
    `${instance.ip}:${instance.port}`, time(instance.created_at)];
}

const ENGINE_VERSION = "7.0"; // of instances that the form creates

async function create() {
  const { flavors } = await ask("GET", "flavors");
  const { templates } = await ask("GET", `config-templates?type=user&engine_version=${ENGINE_VERSION}&limit=1000`);
  const name = h("input", { required: true, minlength: 4, maxlength: 64, pattern: "[A-Za-z][A-Za-z0-9_\\-]*" });
  const single = flavors.filter((flavor) => flavor.cache_mode === "single");
  const ha = flavors.filter((flavor) => flavor.cache_mode === "ha");
  const type = h("select", { onchange: choose }, h("option", { value: "cluster" }, "Cluster"),
    h("option", { value: "ha" }, "Primary/standby"), h("option", { value: "single" }, "Single node"));
  const memory = memoryChoice(single);
  const haMemory = memoryChoice(ha.filter((flavor) => flavor.replica_count === 2));
  const replicas = h("input", { type: "number", min: 1, max: 5, value: "1", required: true });
  const shards = h("input", { type: "number", min: 1, max: 128, value: "3", required: true });
  const shardGb = h("select", {}, [1, 2, 4, 8, 16].map((gb) => h("option", { value: gb }, `${gb} GB`)));
  const copies = h("input", { type: "number", min: 1, max: 6, value: "1", required: true });
  const { min: shortest, max: longest } = PASSWORD_LENGTH;
  const password = h("input", { type: "password", autocomplete: "new-password", required: true, minlength: shortest, maxlength: longest });
  const template = h("select", {});
  const zonesOf = (list) => list[0].flavors_available_zones[0].az_codes;
  const zones = zonesOf(flavors);
  const zone = h("select", {}, h("option", { value: "" }, "All zones"), zones.map((code) => h("option", { value: code }, code)));
  const backup = await backupChoice(h("option", { value: "" }, "None"));
  backup.required = false;
  const clusterFields = [field("Shards", shards), field("Memory per shard", shardGb), field("Copies per shard", copies, "1 means a primary without replicas")];
  const singleFields = [field("Memory of the node", memory)];
  const haFields = [field("Memory of each node", haMemory), field("Replicas", replicas, "one becomes the primary if the primary fails")];
  choose();

  /** Disable hidden fields, so that the browser does not validate them, and offer the templates of the type. */
  function choose() {
    const fitting = templates.filter((one) => one.cache_mode === type.value);
    template.replaceChildren(h("option", { value: "" }, "Defaults"), ...fitting.map((one) => h("option", { value: one.template_id }, one.name)));
    for (const [fields, shown] of [[clusterFields, type.value === "cluster"], [singleFields, type.value === "single"], [haFields, type.value === "ha"]]) {
      for (const label of fields) {
        label.hidden = !shown;
        label.querySelector("input, select").disabled = !shown;
      }
    }
  }

  function requestedSize() {
    if (type.value === "single") {
      const flavor = single.find((candidate) => candidate.spec_code === memory.value);
      return { spec_code: flavor.spec_code, capacity: Number(flavor.capacity[0]) };
    }
    if (type.value === "ha") {
      const size = ha.find((candidate) => candidate.spec_code === haMemory.value).capacity[0];
      const flavor = ha.find((candidate) => candidate.capacity[0] === size && candidate.replica_count === Number(replicas.value) + 1);
      return { spec_code: flavor.spec_code, capacity: Number(size) };
    }
    const [shard, all, of] = [Number(shardGb.value), Number(shards.value), Number(copies.value)];
    return { spec_code: code(cpu(flavors[0].spec_code), of, shard, all), capacity: shard * all };
  }

  dialog("Create an instance", [field("Name", name, "A letter first, then letters, digits, _ and -"),
    field("Type", type, "A single node has no replica"), ...clusterFields, ...haFields, ...singleFields,
    field("Parameters", template, "Defaults, or a template that was saved from another instance"),
    field("Data", backup, "None, or a backup of any instance of the project; its settings are the defaults then"),
    zones.length > 1 && field("Zone", zone, "With all zones, primaries are in the first zone and replicas in the others"),
    field("Password of its clients", password, `${shortest} to ${longest} characters of three kinds`)], "Create", async () => {
    const { instances } = await ask("POST", "instances", { name: name.value, engine: "Redis", engine_version: ENGINE_VERSION,
      ...requestedSize(), az_codes: zone.value ? [zone.value] : type.value === "ha" ? zonesOf(ha) : zones, vpc_id: "local", subnet_id: "local", password: password.value, template_id: template.value, backup_id: backup.value });
    location.hash = `#/instances/${instances[0].instance_id}`;
  });
}
