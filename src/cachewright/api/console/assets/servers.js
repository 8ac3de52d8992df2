// Page of the servers: which of them run, which one performs tasks, and when that changed.

import { ask } from "/console/api.js";
import { h, show, status, table } from "/console/dom.js";
import { between, number, seconds, time } from "/console/format.js";

const REFRESH_MS = 2000;
const CAUSES = {
  first: "the first server", stopped: "its predecessor was stopped", restarted: "it was started again after a failure",
  silent: "its predecessor did not renew the claim",
};

export function serversPage(main, { signal }) {
  const [list, history] = [h("div"), h("div")];
  const wrong = h("p", { class: "wrong", role: "alert" });
  show(main, h("div", { class: "heading" }, h("h1", {}, "Servers")), wrong, list, h("h2", {}, "Who has performed tasks"), history);
  let next = null;

  async function draw() {
    clearTimeout(next);
    try {
      const { servers, takeovers } = await ask("GET", "servers");
      if (signal.aborted) return;
      show(wrong, !servers.some((server) => server.performs_tasks && server.reporting) && "None of the servers that report performs tasks.");
      show(list, serverTable(servers));
      show(history, takeoverTable(takeovers));
    } catch (error) {
      wrong.textContent = error.message;
    }
    if (!signal.aborted) next = setTimeout(() => signal.aborted || draw(), REFRESH_MS);
  }
  draw();
}

function serverTable(servers) {
  return table("Servers", ["Machine", "Status", "Tasks", "Epoch", "Last report", "Address", "Process", "Release", "Started", "Server"], servers.map((server) => [
    server.machine, status(server.reporting ? "reporting" : "not reporting"), tasks(server), number(server.epoch), `${seconds(server.seen_seconds)} ago`,
    server.listen, h("code", {}, server.pid), server.release, time(server.started_at), h("code", {}, server.id.slice(0, 8))]),
  { right: ["Epoch", "Process"] });
}

function tasks(server) {
  if (!server.performs_tasks) return "stands by";
  return server.performs_since ? `performs them since ${time(server.performs_since)}` : "performs them";
}

function takeoverTable(takeovers) {
  return table("Takeovers", ["Epoch", "Machine", "Process", "From", "To", "Duration", "Why", "Server"], takeovers.map((takeover) => [
    number(takeover.epoch), takeover.machine, h("code", {}, takeover.pid), time(takeover.began_at), takeover.ended_at ? time(takeover.ended_at) : "now",
    seconds(between(takeover.began_at, takeover.ended_at)), CAUSES[takeover.cause], h("code", {}, takeover.server_id.slice(0, 8))]),
  { right: ["Process", "Duration"], empty: "This server is the only one that uses the database." });
}
