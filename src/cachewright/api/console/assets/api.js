// Requests to the public API, authenticated by the session cookie.

let session = null;
let onSignedOut = () => {};

export class RequestFailed extends Error {
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** Call `lost` when the server reports that the session has ended. */
export function whenSignedOut(lost) {
  onSignedOut = lost;
}

export function who() {
  return session;
}

/** Whether the user's role includes `role`. Decides only which buttons show; the server checks each request. */
export function may(role) {
  const roles = ["viewer", "operator", "admin"];
  return session !== null && roles.indexOf(session.role) >= roles.indexOf(role);
}

/** Load the session of the cookie; null without a valid one. */
export async function resume() {
  try {
    session = await request("GET", "/console/session");
  } catch (error) {
    if (error.status !== 401) throw error;
    session = null;
  }
  return session;
}

export async function signIn(name, password) {
  session = await request("POST", "/console/session", { name, password });
}

export async function changeProject(projectId) {
  session = await request("PUT", "/console/session", { project_id: projectId });
}

export async function signOut() {
  await request("DELETE", "/console/session");
  session = null;
}

/** Request `path` of the project. */
export async function ask(method, path, body) {
  try {
    return await request(method, `/v2/${session.project.id}/${path}`, body);
  } catch (error) {
    if (error.status === 401) onSignedOut();
    throw error;
  }
}

/** Call `hear(name, data)` for each event until the stream ends or `signal` is aborted. Reconnects. */
export function follow(path, names, hear, signal, showError = () => {}) {
  const source = new EventSource(`/v2/${session.project.id}/${path}`);
  const reconnect = async () => {
    try {
      await ask("GET", path);
    } catch (error) {
      if (error instanceof RequestFailed && error.status < 500 && error.status !== 429) {
        showError(error.message);
        hear("end", {});
        return;
      }
    }
    setTimeout(() => signal.aborted || follow(path, names, hear, signal, showError), 1000);
  };
  for (const name of names) {
    source.addEventListener(name, (event) => {
      showError("");
      hear(name, JSON.parse(event.data));
      if (name === "end") source.close();
    });
  }
  // The session has ended or the role has changed: one plain request returns the reason.
  source.addEventListener("refused", () => {
    source.close();
    if (!signal.aborted) reconnect();
  });
  source.onerror = () => {
    showError("No response from the server; retrying.");
    // The browser does not reconnect by itself after an error response.
    if (source.readyState === EventSource.CLOSED && !signal.aborted) reconnect();
  };
  signal.addEventListener("abort", () => source.close());
}

async function request(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (session && method !== "GET") headers["x-csrf-token"] = session.csrf_token;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new RequestFailed(0, "", "No response from the server.");
  }
  const text = await answer.text();
  if (answer.ok && answer.headers.get("content-type")?.startsWith("text/plain")) return text;
  const content = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new RequestFailed(answer.status, content?.error_code ?? "", `${content?.error_msg ?? "Request failed."} (${content?.error_code})`);
  return content;
}
