// Choice of a backup, and the dialog that restores one into an instance.

import { ask } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h } from "/console/dom.js";
import { size, time } from "/console/format.js";

const MOST = 1000;

/** A choice of the project's backups. `first` are options before them. */
export async function backupChoice(...first) {
  const { backup_record_response: backups } = await ask("GET", `backups?limit=${MOST}`);
  return h("select", { required: true }, ...first, ...backups.filter((backup) => backup.status === "succeed").map((backup) =>
    h("option", { value: backup.backup_id }, `${backup.instance_name}, ${time(backup.taken_at)}, ${size(backup.size)}${backup.remark ? `: ${backup.remark}` : ""}`)));
}

/** `started` runs once the task exists. */
export async function restore(state, started) {
  const backup = await backupChoice();
  const safety = h("input", { type: "checkbox", checked: true });
  const name = h("input", { required: true, autocomplete: "off", "aria-label": "Name of the instance" });
  const text = "This replaces all keys of the instance by those of a backup. Its password, accounts, parameters and size stay. "
    + "Clients cannot use the instance while its nodes load the data: for about 3 seconds, and one second more for each 150 MB of the largest shard. "
    + "Until then it serves its present data, and a failure changes nothing. Type its name to confirm.";
  dialog(`Restore ${state.name}`, [h("p", {}, text), field("Backup", backup),
    field("Back up the present data first", safety), name], "Restore", async () => {
    if (name.value !== state.name) throw new Error("The name does not match.");
    await ask("POST", `instances/${state.instance_id}/restores`, { backup_id: backup.value, safety_backup: safety.checked });
    started();
  }, { danger: true });
}
