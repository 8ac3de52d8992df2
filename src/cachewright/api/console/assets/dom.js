// Creates DOM elements. Text never becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** Create an element: h("p", {class: "note", onclick: act}, "text", child). Null and false children are skipped. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Create an SVG element. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "style") for (const [property, of] of Object.entries(value)) element.style.setProperty(property, of);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A click is lost if its element is replaced between press and release. So content under a pressed pointer is replaced after the click.
const RELEASE_MS = 50; // on touch screens, the click follows the release a moment later
const deferred = new Map();
let pressed = null;

addEventListener("pointerdown", (event) => { if (event.button === 0) pressed = event.target; }, true);
addEventListener("click", () => { pressed = null; }, true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(replaceDeferred, RELEASE_MS), true);
addEventListener("blur", replaceDeferred);

function replaceDeferred() {
  pressed = null;
  for (const [element, children] of deferred) replace(element, children);
  deferred.clear();
}

/** Replace the content of `element`. A control with the focus keeps it if the new content contains it too. */
export function show(element, ...children) {
  deferred.delete(element);
  if (pressed && element.contains(pressed)) deferred.set(element, children);
  else replace(element, children);
}

function replace(element, children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Announce `text` to screen readers. */
export function say(text) {
  document.getElementById("announcement").textContent = text;
}

/** Table with a caption. A row is a list of cells, a cell a text or a node. Columns in `right` align right. */
export function table(caption, columns, rows, { right = [], empty = "Nothing yet." } = {}) {
  const side = (column) => (right.includes(column) ? "number" : null);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: side(column) }, column)))),
      h("tbody", {},
        rows.length ? rows.map((row) =>
          h("tr", {}, row.map((cell, at) => h(at ? "td" : "th", { scope: at ? null : "row", class: side(columns[at]) }, cell))))
          : h("tr", {}, h("td", { colspan: columns.length, class: "empty" }, empty)))));
}

export function status(word) {
  const tone = { RUNNING: "good", SUCCESS: "good", success: "good", FINISH: "good", succeed: "good", Active: "good", AVAILABLE: "good", ok: "good", active: "good", reporting: "good", FAILED: "bad", ERROR: "bad",
    CREATEFAILED: "bad", DELETEFAILED: "bad", Inactive: "bad", "not reporting": "bad", cordoned: "idle", fail: "bad", failed: "bad", expired: "idle", deleted: "idle",
    waiting: "idle", WAITING: "idle", CANCELLED: "idle", Stopped: "idle" }[word] ?? "busy";
  return h("span", { class: `status ${tone}` }, word);
}

/** Progress bar; `label` names it for screen readers. */
export function bar(percent, label) {
  return h("span", { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(percent) }, h("span", { style: { width: `${Math.min(percent, 100)}%` } }));
}
