// Parameters of an instance with defaults and ranges, and a form that changes them on all nodes.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, status, table } from "/console/dom.js";

const POLL_MS = 300;

/** Table of the response to ListConfigurations, with a button that changes it; calls `done` when a change has ended. */
export function parameters(instanceId, name, configuration, done) {
  const rows = configuration.redis_config.map((parameter) => [parameter.param_name, value(parameter), orEmpty(parameter.default_value),
    h("span", { class: "wide" }, range(parameter)), h("span", { class: "wide" }, parameter.description)]);
  return [
    configuration.config_status !== "SUCCESS" && h("p", { class: "note" }, "Last change: ", status(configuration.config_status)),
    ...configuration.deviations.map((one) => h("p", { class: "note" }, `Node ${one.node_id} differs: ${one.param_name} is ${orEmpty(one.param_value)}`)),
    table("Parameters", ["Parameter", "Value", "Default", "Range", "Description"], rows),
    may("operator") && h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", "data-key": "parameters",
      disabled: configuration.status !== "RUNNING" || configuration.config_status === "UPDATING",
      onclick: () => change(instanceId, name, configuration.redis_config, done) }, "Change parameters"),
    h("button", { type: "button", class: "quiet", "data-key": "template",
      onclick: () => save(instanceId, name, configuration.redis_config) }, "Save as template")),
  ];
}

/** Create a template from the parameters of an instance, for new instances of its type and version. */
function save(instanceId, name, all) {
  const template = h("input", { required: true, minlength: 4, maxlength: 64, pattern: "[A-Za-z][A-Za-z0-9_\\-]*", value: name });
  dialog("Save as template", [field("Name of the template", template, "New instances can be created with it")], "Save", async () => {
    const { engine_version, cache_mode } = await ask("GET", `instances/${instanceId}`);
    const params = Object.fromEntries(all.filter((one) => one.param_value !== one.default_value).map((one) => [one.param_name, one.param_value]));
    await ask("POST", "config-templates", { name: template.value, engine_version, cache_mode, params });
  });
}

function change(instanceId, name, all, done) {
  const changeable = all.filter((parameter) => parameter.value_type !== "Enum" || parameter.value_range.includes(",") || parameter.param_value !== parameter.value_range);
  const controls = changeable.map((parameter) => [parameter, control(parameter)]);
  dialog(`Change parameters of ${name}`,
    controls.map(([parameter, input]) => field(parameter.param_name, input, hint(parameter))), "Change", async () => {
      const changed = controls.filter(([parameter, input]) => input.value !== parameter.param_value).map(([parameter, input]) =>
        ({ param_id: parameter.param_id, param_name: parameter.param_name, param_value: input.value }));
      if (!changed.length) throw new Error("No value was changed.");
      const { job_id: id } = await ask("PUT", `instances/${instanceId}/async-configs`, { redis_config: changed });
      const job = await ended(id);
      done();
      if (job.status === "FAIL") throw new Error(job.fail_reason);
    });
}

/** Wait for the end of a job. */
export async function ended(id) {
  for (;;) {
    const job = await ask("GET", `jobs/${id}`);
    if (["SUCCESS", "FAIL"].includes(job.status)) return job;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function control(parameter) {
  if (parameter.value_type === "Enum") {
    return h("select", {}, parameter.value_range.split(",").map((word) =>
      h("option", { value: word, selected: word === parameter.param_value }, word)));
  }
  if (parameter.value_type === "Integer") {
    const [min, max] = parameter.value_range.split("-");
    return h("input", { type: "number", min, max, step: 1, required: true, value: parameter.param_value });
  }
  return h("input", { pattern: parameter.value_range, value: parameter.param_value, autocomplete: "off", spellcheck: "false" });
}

function hint(parameter) {
  const restart = parameter.need_restart ? " All nodes restart, one after another." : "";
  return `${parameter.value_type === "Enum" ? "" : `${range(parameter)}. `}${parameter.description} Default: ${orEmpty(parameter.default_value)}${restart}`;
}

function value(parameter) {
  return parameter.param_value === parameter.default_value ? orEmpty(parameter.param_value) : h("b", {}, orEmpty(parameter.param_value));
}

function range(parameter) {
  if (parameter.value_type === "Integer") return parameter.value_range.replace("-", " to ");
  return parameter.value_type === "Enum" ? parameter.value_range.replaceAll(",", ", ") : parameter.value_range;
}

function orEmpty(text) {
  return text === "" ? "(empty)" : text;
}
