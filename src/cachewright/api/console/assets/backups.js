// Backups of an instance: their state and size, links to their files, and the schedule.

import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h, status, table } from "/console/dom.js";
import { size, time } from "/console/format.js";

const LINK_SECONDS = 3600;
const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/** Card with the records of ListBackupRecords, the policy and the write log of the instance; `changed` runs when a task or a record has changed. */
export function backups(state, records, policy, log, changed) {
  const busy = state.task || state.status !== "RUNNING";
  return [
    table("Backups", ["Taken", "Status", "Size", "Type", "Expires", "Remark", "Change"], records.map((record) => [
      time(record.taken_at ?? record.created_at),
      h("span", {}, status(record.status), record.status === "backuping" && ` ${Math.round(record.progress)} %`, record.error_code && h("code", {}, record.error_code)),
      record.size ? size(record.size) : "", record.backup_type === "auto" ? "schedule" : "manual",
      record.expires_at ? time(record.expires_at) : "", h("span", { class: "wide" }, record.remark), buttons(state, record, changed)]),
    { right: ["Size"], empty: "No backups yet." }),
    h("p", { class: "note" }, "Schedule: ", schedule(policy)),
    h("p", { class: "note" }, "Past data: ", past(log)),
    may("operator") && h("div", { class: "buttons" },
      h("button", { type: "button", class: "quiet", "data-key": "backup", disabled: busy, onclick: () => create(state, changed) }, "Back up"),
      h("button", { type: "button", class: "quiet", "data-key": "past-backup", disabled: busy || !log.windows.length, onclick: () => createPast(state, log, changed) }, "Past data"),
      h("button", { type: "button", class: "quiet", "data-key": "write-log", onclick: () => changeLog(state, log, changed) }, "Change write log"),
      h("button", { type: "button", class: "quiet", "data-key": "schedule", onclick: () => change(state, policy, changed) }, "Change schedule")),
  ];
}

function buttons(state, record, changed) {
  const path = `instances/${state.instance_id}/backups/${record.backup_id}`;
  const button = (text, act) => h("button", { type: "button", class: "quiet", "data-key": `${text}-${record.backup_id}`,
    "aria-label": `${text} of the backup of ${time(record.created_at)}`, onclick: act }, text);
  return h("span", { class: "buttons" },
    may("operator") && record.status === "succeed" && button("Files", () => files(path)),
    may("admin") && ["succeed", "failed"].includes(record.status) && button("Deletion", () => remove(path, record, changed)));
}

function schedule(policy) {
  if (policy?.backup_type !== "auto") return "none";
  const { backup_at: days, begin_at: period, timezone_offset: zone } = policy.periodical_backup_plan;
  return `${days.map((day) => DAYS[day - 1]).join(", ")} at ${period.split("-")[0]} ${zone || "UTC"}; kept for ${policy.save_days} days`;
}

function create(state, changed) {
  const remark = h("input", { maxlength: 128, autocomplete: "off" });
  dialog(`Back up ${state.name}`, [field("Remark", remark), h("p", {}, "Writes wait for a few hundredths of a second.")], "Back up", async () => {
    await ask("POST", `instances/${state.instance_id}/backups`, { remark: remark.value });
    changed();
  });
}

function past(log) {
  if (!log.keep_hours) return "not kept";
  const parts = log.windows.map((one) => `${time(one.first)} to ${time(one.last)}`).join(", ");
  return `${parts || "none yet"}; kept for ${log.keep_hours} hours, ${size(log.size)}`;
}

/** Local time as a field `datetime-local` has it. */
function local(iso) {
  const at = new Date(iso);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

/** A backup of the data at the end of a second. */
function createPast(state, log, changed) {
  const [first, last] = [log.windows[0].first, log.windows.at(-1).last].map(local);
  const moment = h("input", { type: "datetime-local", step: 1, required: true, min: first, max: last, value: last });
  dialog(`Back up past data of ${state.name}`, [h("p", {}, "The backup has the data at the end of this second. Restore it as any other."),
    field("Second", moment)], "Back up", async () => {
    await ask("POST", `instances/${state.instance_id}/backups`, { moment: `${new Date(moment.value).toISOString().slice(0, 19)}Z` });
    changed();
  });
}

function changeLog(state, log, changed) {
  const hours = h("input", { type: "number", min: 0, max: 168, required: true, value: log.keep_hours || 24 });
  dialog(`Change the write log of ${state.name}`, [h("p", {}, "All writes are stored, so that the data of any second can be backed up."),
    field("Hours to keep", hours, "0 deletes what was stored")], "Change", async () => {
    await ask("PUT", `instances/${state.instance_id}/write-log`, { keep_hours: Number(hours.value) });
    changed();
  });
}

/** Show links to the files, which end after an hour. */
function files(path) {
  const list = h("ul", {});
  dialog("Files of the backup", [h("p", {}, "Anyone who has a link can read all data in the file for one hour."), list], "Create links", async () => {
    const { links } = await ask("POST", `${path}/links`, { expiration: LINK_SECONDS });
    list.replaceChildren(...links.map((one) => h("li", {}, h("a", { href: one.link, download: one.file_name }, one.file_name))));
    return false;
  });
}

function remove(path, record, changed) {
  dialog("Delete the backup", [h("p", {}, `This permanently deletes the backup of ${time(record.created_at)}.`)], "Delete", async () => {
    await ask("DELETE", path);
    changed();
  }, { danger: true });
}

function change(state, policy, changed) {
  const plan = policy?.periodical_backup_plan;
  const active = h("input", { type: "checkbox", checked: policy?.backup_type === "auto" });
  const days = DAYS.map((name, at) => [at + 1, name, h("input", { type: "checkbox", checked: plan?.backup_at.includes(at + 1) ?? false })]);
  const begin = h("input", { type: "time", required: true, value: plan?.begin_at.split("-")[0] ?? "02:00" });
  const kept = h("input", { type: "number", min: 1, max: 7, required: true, value: policy?.save_days || 7 });
  dialog(`Change the schedule of ${state.name}`, [field("Back up by a schedule", active), days.map(([, name, box]) => field(name, box)),
    field("Begin", begin, plan?.timezone_offset || "UTC"), field("Days to keep", kept, "The last good backup is kept longer")], "Change", async () => {
    const hour = `${begin.value}-${String((Number(begin.value.slice(0, 2)) + 1)).padStart(2, "0")}:00`;
    await ask("PUT", `instances/${state.instance_id}`, { instance_backup_policy: active.checked ? { backup_type: "auto", save_days: Number(kept.value),
      periodical_backup_plan: { period_type: "weekly", backup_at: days.filter(([, , box]) => box.checked).map(([day]) => day), begin_at: hour,
        timezone_offset: plan?.timezone_offset ?? "" } } : { backup_type: "manual" } });
    changed();
  });
}
