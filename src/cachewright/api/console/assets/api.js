// Requests to the API that everybody uses, signed in by the session's cookie.

let session = null;
let onLost = () => {};

export class Refused extends Error {
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** `lost` is called when the server says that nobody is signed in. */
export function whenSignedOut(lost) {
  onLost = lost;
}

export function who() {
  return session;
}

/** What the user's role lets them do; the server says so again. */
export function may(role) {
  const roles = ["viewer", "operator", "admin"];
  return session !== null && roles.indexOf(session.role) >= roles.indexOf(role);
}

/** The session that the cookie stands for; null where there is none. */
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

/** Below the project. */
export async function ask(method, path, body) {
  try {
    return await request(method, `/v2/${session.project.id}/${path}`, body);
  } catch (error) {
    if (error.status === 401) onLost();
    throw error;
  }
}

/** Calls `hear(name, data)` for each event until the stream ends or `signal` is aborted. A lost connection is made again. */
export function follow(path, names, hear, signal, trouble = () => {}) {
  const source = new EventSource(`/v2/${session.project.id}/${path}`);
  const again = async () => {
    try {
      await ask("GET", path);
    } catch (error) {
      if (error instanceof Refused && error.status < 500 && error.status !== 429) {
        trouble(error.message);
        hear("end", {});
        return;
      }
    }
    setTimeout(() => signal.aborted || follow(path, names, hear, signal, trouble), 1000);
  };
  for (const name of names) {
    source.addEventListener(name, (event) => {
      trouble("");
      hear(name, JSON.parse(event.data));
      if (name === "end") source.close();
    });
  }
  // The session has ended, or the role is another: the same request, asked once, says why.
  source.addEventListener("refused", () => {
    source.close();
    if (!signal.aborted) again();
  });
  source.onerror = () => {
    trouble("The server does not answer; trying again.");
    // Refused, or cut off in a way that the browser takes for final.
    if (source.readyState === EventSource.CLOSED && !signal.aborted) again();
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
    throw new Refused(0, "", "The server does not answer.");
  }
  const text = await answer.text();
  const told = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refused(answer.status, told?.error_code ?? "", `${told?.error_msg ?? "Refused."} (${told?.error_code})`);
  return told;
}
