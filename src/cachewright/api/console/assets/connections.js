// How clients connect to an instance: its address, TLS and the whitelist.

import { changed } from "/console/accounts.js";
import { ask, may } from "/console/api.js";
import { dialog, field } from "/console/dialog.js";
import { h } from "/console/dom.js";
import { isCluster } from "/console/flavor.js";

const GROUP = "console";

/** Address, TLS and whitelist with buttons that change them; calls `done` when a change has ended. */
export function connections(state, tls, whitelist, done) {
  const changing = state.status !== "RUNNING";
  const addresses = whitelist.whitelist.flatMap((group) => group.ip_list);
  const until = tls.enabled ? `, certificate valid until ${tls.ssl_expired_at.slice(0, 10)}` : "";
  return [
    h("p", {}, "Address: ", h("code", {}, `${tls.ip}:${tls.port}`)),
    h("p", {}, `TLS: ${tls.enabled ? "on" : "off"}${until} `, tls.enabled && h("a", { href: "/certificates/ca.zip" }, "CA certificate")),
    h("p", {}, `Whitelist: ${whitelist.enable_whitelist ? addresses.join(", ") : "off"}`),
    may("operator") && h("div", { class: "buttons" },
      h("button", { type: "button", class: "quiet", "data-key": "tls", disabled: changing, onclick: () => switchTls(state, !tls.enabled, done) },
        tls.enabled ? "Switch TLS off" : "Switch TLS on"),
      h("button", { type: "button", class: "quiet", "data-key": "whitelist", disabled: changing, onclick: () => changeWhitelist(state, addresses, done) }, "Change whitelist")),
  ];
}

function effects(state) {
  if (isCluster(state.spec_code)) return "The nodes restart one after another. No data is lost.";
  return "Open connections are closed.";
}

function switchTls(state, enabled, done) {
  const after = enabled ? "Clients then connect with TLS only." : "Clients then connect without TLS; connections with TLS are refused.";
  dialog(`Switch TLS of ${state.name} ${enabled ? "on" : "off"}`, [h("p", {}, `${after} ${effects(state)}`)], "Switch", () =>
    changed(state, () => ask("PUT", `instances/${state.instance_id}/ssl`, { enabled }), done));
}

function changeWhitelist(state, addresses, done) {
  const allowed = h("input", { value: addresses.join(", "), autocomplete: "off" });
  dialog(`Change the whitelist of ${state.name}`, [field("Allowed addresses", allowed, "Such as 10.0.0.0/24, 192.168.1.7; empty: all"),
    h("p", {}, isCluster(state.spec_code) ? "Connections from other addresses are closed." : effects(state))], "Change", () => {
    const list = allowed.value.split(/[\s,]+/).filter(Boolean);
    const body = { enable_whitelist: list.length > 0, whitelist: list.length ? [{ group_name: GROUP, ip_list: list }] : [] };
    return changed(state, () => ask("PUT", `instance/${state.instance_id}/whitelist-async`, body), done);
  });
}
