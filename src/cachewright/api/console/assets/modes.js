// The modes of a slot migration, and a choice among them.

import { h } from "/console/dom.js";

const MODES = {
  fastest: "fastest: longest waits",
  balanced: "balanced: short waits",
  gentle: "gentle: shortest waits, slow",
};

export function modeChoice(chosen, attributes = {}) {
  return h("select", attributes,
    Object.entries(MODES).map(([mode, text]) => h("option", { value: mode, selected: mode === chosen }, text)));
}
