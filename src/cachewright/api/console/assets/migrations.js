// Migrations of data from other servers and from files into an instance: state, lag, start, cut-over, stop.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, status, table } from "/console/dom.js";
import { number } from "/console/format.js";

const SHOWN = 5;
const ENDED = ["SUCCESS", "FAILED", "TERMINATED", "CREATED"];

/** Whether a migration of the list changes without a request. */
export const unfinished = (migrations) => migrations.some((one) => !ENDED.includes(one.status));

/** Migrations into an instance, newest first, each with its lag. */
export async function migrationsInto(instanceId) {
  const { migration_tasks: all } = await ask("GET", "migration-tasks?limit=1000");
  const own = all.filter((one) => one.target_instance_id === instanceId).slice(0, SHOWN);
  return Promise.all(own.map((one) => ask("GET", `migration-task/${one.task_id}`)));
}

/** Table of migrations with buttons; calls `done` after a change. */
export function migrations(state, known, done) {
  const rows = known.map((one) => [one.task_name, status(one.status), one.source_instance.addrs || `backup ${one.backup_files?.backup_id}`,
    h("span", { class: "wide" }, one.error_message ?? lag(one.cut_over)), may("operator") ? buttons(one, done) : ""]);
  return [
    table("Migrations", ["Migration", "Status", "Source", "Lag or error", "Change"], rows, { empty: "No data was migrated from another server." }),
    may("operator") && h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", "data-key": "new-migration",
      disabled: state.status !== "RUNNING", onclick: () => start(state, done) }, "Migrate from a server"),
      h("button", { type: "button", class: "quiet", "data-key": "new-import",
        disabled: state.status !== "RUNNING", onclick: () => importFiles(state, done) }, "Import RDB files")),
  ];
}

function lag(cutOver) {
  if (!cutOver) return "";
  const ready = cutOver.ready ? ", ready for the cut-over" : "";
  return `${cutOver.lag_seconds} s, ${number(cutOver.lag_keys)} keys${ready}`;
}

function buttons(one, done) {
  const button = (text, act) => h("button", { type: "button", class: "quiet", "data-key": `${text}-${one.task_id}`,
    "aria-label": `${text} of ${one.task_name}`, onclick: act }, text);
  if (["CREATED", "SUCCESS"].includes(one.status)) return "";
  if (ENDED.includes(one.status)) return button("Restart", () => restart(one, done));
  return h("span", { class: "buttons" },
    one.migration_method === "incremental_migration" && button("Cut-over", () => cutOver(one, done)), button("Stop", () => stop(one, done)));
}

function start(state, done) {
  const name = h("input", { required: true, minlength: 2, maxlength: 64, pattern: "[A-Za-z][A-Za-z0-9_\\-]*", value: "migration", autocomplete: "off" });
  const source = h("input", { required: true, maxlength: 1024, placeholder: "10.0.0.7:6379", autocomplete: "off" });
  const user = h("input", { maxlength: 1024, autocomplete: "off" });
  const password = h("input", { type: "password", maxlength: 512, autocomplete: "new-password" });
  const tls = h("select", {}, [["", "None"], ["host", "Check the certificate and its name"], ["chain", "Check the certificate, accept any name"]]
    .map(([value, text]) => h("option", { value }, text)));
  const authorities = h("textarea", { rows: 3, maxlength: 65536, spellcheck: false, placeholder: "-----BEGIN CERTIFICATE-----" });
  const certificate = h("textarea", { rows: 3, maxlength: 65536, spellcheck: false, placeholder: "-----BEGIN CERTIFICATE-----" });
  const key = h("textarea", { rows: 3, maxlength: 65536, spellcheck: false, autocomplete: "off", placeholder: "-----BEGIN PRIVATE KEY-----" });
  const method = h("select", {}, [["incremental_migration", "Follow changes until the cut-over"], ["full_amount_migration", "Copy once"]]
    .map(([value, text]) => h("option", { value }, text)));
  dialog(`Migrate data into ${state.name}`, [
    field("Name", name), field("Source", source, "HOST:PORT of a server, of a node of a cluster, or of a sentinel"),
    field("User", user, "Empty for the default user"), field("Password", password, "Empty if it has none"),
    field("TLS", tls), field("Authorities", authorities, "Certificates in PEM; empty for those that the server knows, unless any name is accepted"),
    field("Certificate", certificate, "In PEM; for a source that asks its clients for one"), field("Private key", key, "Of that certificate, in PEM; it is never shown again"),
    field("Method", method),
    h("p", {}, "Keys of the source replace keys of the same name. The instance accepts no other change meanwhile."),
  ], "Start", async () => {
    await ask("POST", "migration-task", {
      task_name: name.value, migration_type: "online_migration", migration_method: method.value,
      source_instance: { addrs: source.value, username: user.value, password: password.value || null,
        ...(tls.value && { ssl_enabled: true, ssl_ca: authorities.value, ssl_check_hostname: tls.value === "host",
          ssl_cert: certificate.value, ssl_key: key.value }) },
      target_instance: { id: state.instance_id },
    });
    done();
  });
}

function importFiles(state, done) {
  const name = h("input", { required: true, minlength: 2, maxlength: 64, pattern: "[A-Za-z][A-Za-z0-9_\\-]*", value: "import", autocomplete: "off" });
  const urls = h("textarea", { required: true, rows: 4, spellcheck: false, placeholder: "https://bucket.example.com/dump.rdb" });
  dialog(`Import files into ${state.name}`, [
    field("Name", name), field("URLs", urls, "RDB files of Redis up to 7.2 or Valkey, one URL a line"),
    h("p", {}, "Keys of the files replace keys of the same name, other keys stay. The instance accepts no other change meanwhile."),
  ], "Import", async () => {
    await ask("POST", "migration-task", {
      task_name: name.value, migration_type: "backupfile_import", migration_method: "full_amount_migration",
      backup_files: { file_source: "self_build_obs", files: urls.value.split("\n").map((url) => url.trim()).filter(Boolean).map((url) => ({ file_name: url })) },
      target_instance: { id: state.instance_id },
    });
    done();
  });
}

function cutOver(one, done) {
  dialog(`Cut over ${one.task_name}`, [h("p", {}, "First stop all writes to the source. The migration ends when everything is copied.")], "Cut over",
    async () => {
      await ask("POST", `migration-task/${one.task_id}/cut-over`);
      done();
    });
}

function stop(one, done) {
  dialog(`Stop ${one.task_name}`, [h("p", {}, "Copied keys stay in the instance.")], "Stop", async () => {
    await ask("POST", `migration-task/${one.task_id}/stop`);
    done();
  }, { danger: true });
}

function restart(one, done) {
  dialog(`Restart ${one.task_name}`, [h("p", {}, "All keys are copied again.")], "Restart", async () => {
    const { migration_tasks: [result] } = await ask("POST", "migration-tasks/batch-restart", { migration_tasks: [one.task_id] });
    if (result.result !== "success") throw new Error(result.error_msg);
    done();
  });
}
