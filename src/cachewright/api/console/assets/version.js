// Version of valkey-server of an instance, and its upgrade.

import { ask, may } from "/console/api.js";
import { dialog } from "/console/dialog.js";
import { h } from "/console/dom.js";
import { laterChoice } from "/console/later.js";

/** Shows the version in `place`, with a button if a newer one is configured. `started` runs once the task exists. */
export async function version(place, state, started) {
  const found = await ask("GET", `instances/${state.instance_id}/version`).catch(() => null);
  if (!found) return;
  const changing = state.task || state.status !== "RUNNING";
  const latest = found.latest_engine_minor_version;
  place.replaceChildren(`Valkey ${found.engine_minor_version || "unknown"}`,
    found.engine_minor_version_upgradable && may("operator")
      ? h("button", { type: "button", class: "quiet", "data-key": "upgrade", disabled: changing, onclick: () => upgrade(state, latest, started) },
        `Upgrade to ${latest}`) : "");
}

async function upgrade(state, latest, started) {
  const later = laterChoice(await ask("GET", `instances/${state.instance_id}`));
  const text = `The nodes restart one after another with Valkey ${latest}, replicas first. No data is lost. A shard with `
    + "replicas stays available; other shards are unavailable for a few seconds. A node that does not start returns to its version.";
  dialog(`Upgrade ${state.name}`, [h("p", {}, text), later.field], "Upgrade", async () => {
    await ask("POST", `instances/${state.instance_id}/minor-version/upgrade`,
      { engine_minor_version: latest, execute_immediately: !later.checked() });
    started();
  });
}
