// Page of all tasks of the project, newest first, including tasks of deleted instances.

import { ask } from "/console/api.js";
import { h, show, status, table } from "/console/dom.js";
import { between, number, seconds, time } from "/console/format.js";

export const ENDED = ["SUCCESS", "FAILED"];
const PAGE = 25;
const REFRESH_MS = 2000;

export function tasksPage(main, { signal }) {
  const count = h("span", { class: "count" });
  const [list, pages] = [h("div"), h("div", { class: "buttons" })];
  const wrong = h("p", { class: "wrong", role: "alert" });
  show(main, h("div", { class: "heading" }, h("h1", {}, "Tasks ", count)), wrong, list, pages);
  let offset = 0;
  let next = null;

  async function draw() {
    clearTimeout(next);
    try {
      const { tasks, task_count: text } = await ask("GET", `tasks?limit=${PAGE}&offset=${offset}`);
      if (signal.aborted) return;
      show(wrong);
      const all = Number(text);
      count.textContent = number(all);
      show(list, taskTable(tasks));
      show(pages, all > PAGE && [turn("Newer", offset > 0, -PAGE),
        h("span", {}, `${number(offset + 1)} to ${number(offset + tasks.length)} of ${number(all)}`),
        turn("Older", offset + PAGE < all, PAGE)]);
    } catch (error) {
      wrong.textContent = error.message;
    }
    if (!signal.aborted) next = setTimeout(() => signal.aborted || draw(), REFRESH_MS);
  }

  function turn(text, possible, by) {
    return h("button", { type: "button", class: "quiet", "data-key": text, disabled: !possible, onclick: () => {
      offset = Math.max(0, offset + by);
      draw();
    } }, text);
  }
  draw();
}

/** Whether a task has ended because it was cancelled, which the API reports as a failure with this code. */
export function isCancelled(task) {
  return task.error_code === "DCS.9005";
}

export function taskStatus(task) {
  return status(isCancelled(task) ? "CANCELLED" : task.status);
}

/** Table of tasks as the API lists them. */
export function taskTable(tasks) {
  return table("Tasks", ["Task", "Status", "Change", "Started by", "Created", "Duration"], tasks.map((task) => [
    h("a", { href: `#/tasks/${task.id}`, "data-key": task.id }, task.name),
    h("span", {}, taskStatus(task), !isCancelled(task) && task.error_code && h("code", {}, task.error_code)), changed(task), task.user_name,
    time(task.created_at), task.updated_at ? seconds(between(task.created_at, task.updated_at)) : ""]),
  { right: ["Duration"], empty: "No tasks yet." });
}

function changed({ details, params }) {
  if (details.new_capacity) return `${details.old_capacity} to ${details.new_capacity} GB`;
  return JSON.parse(params || "{}").spec_code ?? "";
}
