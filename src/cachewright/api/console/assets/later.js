// Choice to begin a task in the maintenance window of its instance.

import { h } from "/console/dom.js";

export function laterChoice(instance) {
  const later = h("input", { type: "checkbox", "data-key": "later" });
  const window = `${instance.maintain_begin.slice(0, 5)} to ${instance.maintain_end.slice(0, 5)} UTC`;
  return { field: h("label", { class: "inline" }, later, ` Begin in the maintenance window (${window})`), checked: () => later.checked };
}
