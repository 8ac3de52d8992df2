// Dialog with a form: runs an action on confirmation and shows its error.

import { h, show } from "/console/dom.js";

/** `fields` are nodes; `act` runs on confirmation. The dialog shows its error, or closes when it succeeds, unless it returns false. */
export function dialog(title, fields, verb, act, { danger = false, ready = true } = {}) {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const button = h("button", { type: "submit", class: danger ? "danger" : null, disabled: !ready }, verb);
  const box = h("dialog", { "aria-label": title },
    h("form", { onsubmit: confirm }, h("h2", {}, title), fields, wrong,
      h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => box.close() }, "Close"), button)));

  async function confirm(event) {
    event.preventDefault();
    button.disabled = true;
    show(wrong);
    try {
      if (await act(box) !== false) box.close();
    } catch (error) {
      wrong.textContent = error.message;
      button.disabled = false;
    }
  }

  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return { button, wrong };
}

export function field(label, control, hint) {
  return h("label", {}, h("span", {}, label), control, hint && h("small", {}, hint));
}
