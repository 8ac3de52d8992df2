// Page of one task: percent, remaining time, steps with sub-steps, and throughput. Updated while the task runs.

import { ask, follow, may } from "/console/api.js";
import { chart } from "/console/chart.js";
import { bar, h, say, show, status, table } from "/console/dom.js";
import { between, clock, number, seconds, size, time } from "/console/format.js";
import { modeChoice } from "/console/modes.js";
import { ENDED, isCancelled, taskStatus } from "/console/tasks.js";

const SHORTEST_RANGE_MS = 250;

export async function taskPage(main, { signal, titled }, id) {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const [heading, summary, controls, throughput, steps, accuracy] = Array.from({ length: 6 }, () => h("div"));
  let record = null;
  show(main, wrong, heading, summary, controls, throughput,
    h("section", { class: "card" }, h("h2", {}, "Steps"), steps), accuracy);

  async function read() {
    record = await ask("GET", `tasks/${id}`);
    if (signal.aborted) return;
    const { task } = record;
    titled(task.name);
    show(heading, h("div", { class: "heading" }, h("h1", {}, task.name, " ", taskStatus(task)),
      h("a", { href: `#/instances/${record.instance_id}` }, "Instance"), h("code", {}, task.id)),
      isCancelled(task) && h("p", { class: "note" }, "Cancelled. Finished work stays, and Retry continues."),
      task.status === "FAILED" && !isCancelled(task) && h("p", { class: "failure" }, h("strong", {}, task.error_code), ` ${record.message}`),
      task.status !== "FAILED" && record.message && h("p", { class: "failure" }, h("strong", {}, "Warning"), ` ${record.message}`),
      h("p", { class: "note" }, `Started by ${task.user_name}, ${time(task.created_at)}`,
        task.updated_at && `; ended ${time(task.updated_at)}`, record.attempt > 0 && `; attempt ${record.attempt + 1}`));
    show(controls, ...buttons());
    show(accuracy, forecasts(record.forecasts));
    draw({ ...record, ...record.progress });
  }

  function draw(progress) {
    const begin = progress.step_details.map((step) => step.begin_time).find(Boolean);
    const ended = ENDED.includes(record.task.status);
    show(summary, h("div", { class: "card progress" }, h("span", { class: "percent" }, `${progress.progress} %`),
      bar(progress.progress, "Progress"),
      h("span", { class: "left" }, ended ? "" : left(progress)),
      begin && h("span", {}, `${seconds(between(begin, record.task.updated_at))} ${ended ? "in total" : "so far"}`),
      !ended && progress.heartbeat && h("span", {}, `last progress ${clock(progress.heartbeat)}`),
      h("ul", { class: "waits", hidden: ended || !progress.waiting.length }, waits(progress.waiting).map((text) => h("li", {}, text)))));
    show(steps, tree(progress.step_details));
    const points = throughputOf(progress.step_details);
    show(throughput, points.length > 1 && h("section", { class: "card" },
      chart("Migration throughput, averaged over each range", points, (bytes) => `${size(bytes)}/s`, { gap: Infinity, steps: true, width: 1200 })));
  }

  function buttons() {
    const path = `instances/${record.instance_id}/tasks/${id}`;
    const act = (verb, call, danger) => h("button", { type: "button", class: danger ? "danger quiet" : "quiet", "data-key": verb,
      onclick: async () => {
        try {
          await call();
          say(`${verb}: accepted`);
          wrong.textContent = "";
          await read();
        } catch (error) {
          wrong.textContent = error.message;
        }
      } }, verb);
    if (!may(record.task.name === "DeleteInstance" ? "admin" : "operator")) return [];
    if (record.task.status === "FAILED") return [act("Retry", () => ask("POST", `${path}/retry`).then(watch))];
    if (record.task.status === "SUCCESS" || !record.interruptible) return [];
    const { state, parallel, latency_ceiling_ms, mode } = record.control;
    const control = (changed) => ask("PUT", `${path}/control`, { state, parallel, latency_ceiling_ms, mode, ...changed });
    if (state === "cancelled") return [h("span", { class: "note" }, "Cancelling…")];
    return [
      state === "paused" ? act("Resume", () => control({ state: "running" })) : act("Pause", () => control({ state: "paused" })),
      act("Cancel", () => ask("POST", `${path}/cancel`), true),
      h("label", { class: "inline" }, "Concurrent ranges ", h("input", { type: "number", min: 1, max: 1024, "data-key": "parallel",
        value: parallel ?? "", placeholder: "all", onchange: (event) =>
          control({ parallel: event.target.value ? Number(event.target.value) : null }).then(read, (error) => (wrong.textContent = error.message)) })),
      h("label", { class: "inline" }, "Mode ", modeChoice(mode, { "data-key": "mode",
        onchange: (event) => control({ mode: event.target.value }).then(read, (error) => (wrong.textContent = error.message)) }))];
  }

  function watch() {
    follow(`instances/${record.instance_id}/tasks/${id}/progress`, ["progress", "end"], (name, progress) => {
      if (signal.aborted) return;
      if (progress.step_details) draw(progress);
      if (name === "end" || record.task.status === "WAITING") read().then(() => name === "end" && say(`${record.task.name}: ${record.task.status}`));
    }, signal, (text) => (wrong.textContent = text));
  }

  try {
    await read();
  } catch (error) {
    wrong.textContent = error.message;
    return;
  }
  if (!ENDED.includes(record.task.status)) watch();
}

/** 12 s left, 9 s to 18 s; 30 % less work than planned. The interval includes the estimate, which is at least 1 s. */
function left({ remain_time: remaining, remain_low: least, remain_high: most, effort = 1 }) {
  const [low, high] = [Math.min(Math.max(least, 1), remaining), most && Math.max(most, remaining)];
  const percent = Math.round(100 * Math.abs(effort - 1));
  const changed = percent >= 10 ? `; ${percent} % ${effort > 1 ? "more" : "less"} work than planned` : "";
  return `${seconds(remaining)} left${high > low ? `, ${seconds(low)} to ${seconds(high)}` : ""}${changed}`;
}

/** One text for each cause, with the time of the sub-step that has waited longest. */
function waits(waiting) {
  const earliest = new Map();
  for (const { since, cause } of waiting) {
    if (!earliest.has(cause) || since < earliest.get(cause)) earliest.set(cause, since);
  }
  return [...earliest].map(([cause, since]) =>
    cause === "paused" ? `Paused since ${clock(since)}` : `Waiting since ${clock(since)}: ${cause}`);
}

function tree(steps) {
  return h("ol", { class: "steps" }, steps.map((step) => h("li", {}, line(step.step_name, step.step_status, step),
    h("ol", {}, step.sub_step_details.map((sub) => h("li", {}, line(sub.sub_step_name, sub.sub_step_status, sub), detail(sub)))))));
}

function line(name, word, { begin_time: begin, end_time: end, error_code: code }) {
  return h("div", { class: "line" }, status(word), h("span", { class: "name" }, name), code && h("code", {}, code),
    h("span", { class: "duration" }, begin ? seconds(between(begin, end)) : ""));
}

function detail(sub) {
  const moved = migration(sub.detail);
  if (!moved) return sub.detail && h("div", { class: "detail" }, sub.detail.replace(/^\{status:([^,{}]*)\}$/, "$1"));
  const percent = sub.sub_step_status === "FINISH" ? 100 : moved.planned ? (100 * moved.keys) / moved.planned : 0;
  return h("div", { class: "detail" }, bar(percent, `${sub.sub_step_name}: keys`),
    `${number(moved.keys)} of ${number(moved.planned)} keys, ${size(moved.bytes)}${moved.reason}${moved.status}`);
}

/** Parse the detail of a slot migration; null for any other text. */
export function migration(text) {
  const found = text.match(/keys:(\d+)\/(\d+),bytes:(\d+)(?:,reason:(.*?))?(?:,status:([^,{}]*))?\}$/);
  return found && { keys: Number(found[1]), planned: Number(found[2]), bytes: Number(found[3]), reason: found[4] ? `: ${found[4]}` : "",
    status: found[5] ? `; ${found[5]}` : "" };
}

/** Bytes per second at each moment when a range began or ended: the sum of the averages of the active ranges. */
function throughputOf(steps) {
  const moves = steps.flatMap((step) => step.sub_step_details).flatMap((sub) => {
    const moved = migration(sub.detail);
    if (!moved || !moved.bytes || !sub.begin_time) return [];
    const [begin, end] = [Date.parse(sub.begin_time), sub.end_time ? Date.parse(sub.end_time) : Date.now()];
    return end - begin < SHORTEST_RANGE_MS ? [] : [{ begin, end, rate: moved.bytes / ((end - begin) / 1000) }];
  });
  const moments = [...new Set(moves.flatMap(({ begin, end }) => [begin, end]))].sort((a, b) => a - b);
  return moments.map((at) =>
    [at, moves.filter(({ begin, end }) => begin <= at && at < end).reduce((sum, { rate }) => sum + rate, 0)]);
}

function forecasts(all) {
  const judged = all.filter(({ error }) => error !== null);
  return judged.length > 0 && h("section", { class: "card" },
    h("h2", {}, "Accuracy of the remaining time"), table("Estimates", ["Progress", "Estimated remaining", "Error"],
      judged.map(({ progress, remain_seconds, error }) =>
        [`${progress} %`, seconds(remain_seconds), `${Math.round(100 * Math.abs(error))} % of the duration, too ${error < 0 ? "early" : "late"}`]),
      { right: ["Estimated remaining", "Error"] }));
}
