// Parameters of an instance: shown with defaults and ranges, and changed on all of its nodes at once.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, status, table } from "/console/dom.js";

const AGAIN_MS = 300;

/** What ListConfigurations answers, as a table with a button to change it; `done` is called when a change has ended. */
export function parameters(instanceId, name, known, done) {
  const rows = known.redis_config.map((one) => [one.param_name, value(one), shown(one.default_value),
    h("span", { class: "wide" }, range(one)), h("span", { class: "wide" }, one.description)]);
  return [
    known.config_status !== "SUCCESS" && h("p", { class: "note" }, "The last change: ", status(known.config_status)),
    table("Parameters", ["Parameter", "Value", "Default", "Range", "Meaning"], rows),
    may("operator") && h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", "data-key": "parameters",
      disabled: known.status !== "RUNNING" || known.config_status === "UPDATING",
      onclick: () => change(instanceId, name, known.redis_config, done) }, "Change parameters")),
  ];
}

function change(instanceId, name, all, done) {
  const offered = all.filter((one) => one.value_type !== "Enum" || one.value_range.includes(",") || one.param_value !== one.value_range);
  const controls = offered.map((one) => [one, control(one)]);
  dialog(`Change parameters of ${name}`,
    controls.map(([one, input]) => field(one.param_name, input, hint(one))), "Change", async () => {
      const changed = controls.filter(([one, input]) => input.value !== one.param_value).map(([one, input]) =>
        ({ param_id: one.param_id, param_name: one.param_name, param_value: input.value }));
      if (!changed.length) throw new Error("No value was changed.");
      const { job_id: id } = await ask("PUT", `instances/${instanceId}/async-configs`, { redis_config: changed });
      const job = await ended(id);
      done();
      if (job.status === "FAIL") throw new Error(job.fail_reason);
    });
}

async function ended(id) {
  for (;;) {
    const job = await ask("GET", `jobs/${id}`);
    if (["SUCCESS", "FAIL"].includes(job.status)) return job;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

function control(one) {
  if (one.value_type === "Enum") {
    return h("select", {}, one.value_range.split(",").map((word) =>
      h("option", { value: word, selected: word === one.param_value }, word)));
  }
  if (one.value_type === "Integer") {
    const [min, max] = one.value_range.split("-");
    return h("input", { type: "number", min, max, step: 1, required: true, value: one.param_value });
  }
  return h("input", { pattern: one.value_range, value: one.param_value, autocomplete: "off", spellcheck: "false" });
}

function hint(one) {
  return `${one.value_type === "Enum" ? "" : `${range(one)}. `}${one.description} Default: ${shown(one.default_value)}`;
}

function value(one) {
  return one.param_value === one.default_value ? shown(one.param_value) : h("b", {}, shown(one.param_value));
}

function range(one) {
  if (one.value_type === "Integer") return one.value_range.replace("-", " to ");
  return one.value_type === "Enum" ? one.value_range.replaceAll(",", ", ") : one.value_range;
}

function shown(text) {
  return text === "" ? "(empty)" : text;
}
