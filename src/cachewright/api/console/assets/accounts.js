// Accounts of an instance: their roles and passwords, and commands that none of them may use.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, status, table } from "/console/dom.js";
import { ended } from "/console/parameters.js";

const PASSWORD_LENGTH = { min: 8, max: 32 }; // of the account `default`, as in the API
const ACCOUNT_PASSWORD_LENGTH = { min: 8, max: 64 };
const COMMANDS = ["command", "flushall", "flushdb", "hgetall", "hscan", "keys", "scan", "sscan", "zscan"];
const ROLES = [["read", "Read only"], ["write", "Read and write"]];

/** Table of the accounts with buttons that change them; calls `done` when a change has ended. */
export function accounts(state, known, disabled, done) {
  const changing = state.status !== "RUNNING";
  const rows = known.map((account) => [account.account_name, new Map(ROLES).get(account.account_role), status(account.status),
    h("span", { class: "wide" }, account.description), may("operator") ? buttons(state, account, changing, done) : ""]);
  return [
    table("Accounts", ["Account", "Role", "Status", "Description", "Change"], rows),
    h("p", { class: "note" }, "Disabled commands: ", disabled.length ? disabled.join(", ") : "none"),
    may("operator") && h("div", { class: "buttons" },
      h("button", { type: "button", class: "quiet", "data-key": "new-account", disabled: changing, onclick: () => create(state, done) }, "Create account"),
      h("button", { type: "button", class: "quiet", "data-key": "commands", disabled: changing, onclick: () => disable(state, disabled, done) }, "Disable commands")),
  ];
}

function buttons(state, account, changing, done) {
  const path = `instances/${state.instance_id}/accounts/${account.account_id}`;
  const button = (text, act) => h("button", { type: "button", class: "quiet", disabled: changing, "data-key": `${text}-${account.account_id}`,
    "aria-label": `${text} of ${account.account_name}`, onclick: act }, text);
  if (account.account_type === "default") return h("span", { class: "buttons" }, button("Password", () => ownPassword(state, done)));
  return h("span", { class: "buttons" },
    button("Password", () => changePassword(state, account, path, done)),
    button("Role", () => changeRole(state, account, path, done)),
    button("Deletion", () => remove(state, account, path, done)));
}

/** Start a change, and wait for the end of its task, which is the newest one of the instance. */
export async function changed(state, act, done) {
  await act();
  const { tasks } = await ask("GET", `instances/${state.instance_id}/tasks?limit=1`);
  const job = await ended(tasks[0].id);
  done();
  if (job.status === "FAIL") throw new Error(job.fail_reason);
}

function newPassword({ min, max }) {
  return h("input", { type: "password", autocomplete: "new-password", required: true, minlength: min, maxlength: max });
}

function hint({ min, max }) {
  return `${min} to ${max} characters of three kinds`;
}

function roles(chosen) {
  return h("select", {}, ROLES.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

function create(state, done) {
  const name = h("input", { required: true, maxlength: 64, pattern: "[A-Za-z][A-Za-z0-9_\\-]*", autocomplete: "off" });
  const role = roles("read");
  const password = newPassword(ACCOUNT_PASSWORD_LENGTH);
  const description = h("input", { maxlength: 1024, autocomplete: "off" });
  dialog(`Create an account of ${state.name}`, [field("Account", name, "A letter first, then letters, digits, _ and -"), field("Role", role),
    field("Password", password, hint(ACCOUNT_PASSWORD_LENGTH)), field("Description", description)], "Create", () =>
    changed(state, () => ask("POST", `instances/${state.instance_id}/accounts`, { account_name: name.value, account_role: role.value,
      account_password: password.value, description: description.value }), done));
}

function ownPassword(state, done) {
  const password = newPassword(PASSWORD_LENGTH);
  const none = h("input", { type: "checkbox", onchange: () => (password.disabled = none.checked) });
  dialog(`Change the password of ${state.name}`, [field("New password", password, hint(PASSWORD_LENGTH)),
    field("No password", none, "Clients need no password"),
    h("p", {}, "Open connections stay. The old password is refused immediately.")], "Change", () =>
    changed(state, async () => {
      const body = none.checked ? { no_password_access: true } : { new_password: password.value };
      const answer = await ask("POST", `instances/${state.instance_id}/password/reset`, body);
      if (answer.code !== "1") throw new Error(answer.ext_message);
    }, done));
}

function changePassword(state, account, path, done) {
  const password = newPassword(ACCOUNT_PASSWORD_LENGTH);
  dialog(`Change the password of ${account.account_name}`, [field("New password", password, hint(ACCOUNT_PASSWORD_LENGTH))], "Change", () =>
    changed(state, async () => {
      const answer = await ask("PUT", `${path}/password/reset`, { new_password: password.value });
      if (answer.code !== "1") throw new Error(answer.ext_message);
    }, done));
}

function changeRole(state, account, path, done) {
  const role = roles(account.account_role);
  dialog(`Change the role of ${account.account_name}`, [field("Role", role)], "Change", () =>
    changed(state, () => ask("PUT", `${path}/role`, { account_role: role.value }), done));
}

function remove(state, account, path, done) {
  dialog(`Delete the account ${account.account_name}`, [h("p", {}, "Its connections are closed.")], "Delete", () =>
    changed(state, () => ask("DELETE", path), done), { danger: true });
}

function disable(state, disabled, done) {
  const boxes = COMMANDS.map((command) => [command, h("input", { type: "checkbox", checked: disabled.includes(command) })]);
  dialog(`Disable commands of ${state.name}`, boxes.map(([command, box]) => field(command, box)), "Change", () =>
    changed(state, () => ask("PUT", `instances/${state.instance_id}`,
      { rename_commands: Object.fromEntries(boxes.map(([command, box]) => [command, box.checked ? "" : command])) }), done));
}
