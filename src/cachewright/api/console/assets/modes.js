// The modes of a slot migration, and a choice among them.

import { h } from "/console/dom.js";

const MODES = {
  fastest: "fastest: whole ranges, clients wait longest",
  balanced: "balanced: short waits for clients",
  gentle: "gentle: shortest waits, takes several times as long",
};

export function modeChoice(chosen, attributes = {}) {
  return h("select", attributes,
    Object.entries(MODES).map(([mode, text]) => h("option", { value: mode, selected: mode === chosen }, text)));
}
