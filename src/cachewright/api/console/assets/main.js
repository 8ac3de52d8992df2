// Router of the pages, and the header above them.

import { changeProject, resume, signIn, signOut, who, whenSignedOut } from "/console/api.js";
import { h, say, show } from "/console/dom.js";
import { hostsPage } from "/console/hosts.js";
import { instancePage } from "/console/instance.js";
import { instancesPage } from "/console/instances.js";
import { serversPage } from "/console/servers.js";
import { taskPage } from "/console/task.js";
import { tasksPage } from "/console/tasks.js";

const PAGES = [
  [/^#\/instances$/, "Instances", instancesPage],
  [/^#\/instances\/([0-9a-f-]{36})$/, "Instance", instancePage],
  [/^#\/hosts$/, "Hosts", hostsPage],
  [/^#\/servers$/, "Servers", serversPage],
  [/^#\/tasks$/, "Tasks", tasksPage],
  [/^#\/tasks\/([0-9a-f]{32})$/, "Task", taskPage],
];
const HOME = "#/instances";
const THEME = "cachewright-theme";

const header = document.getElementById("header");
const main = document.getElementById("main");
let shown = new AbortController();

function open() {
  shown.abort();
  shown = new AbortController();
  drawHeader();
  if (!who()) {
    signInPage();
    return;
  }
  const found = PAGES.map(([path, title, page]) => [location.hash.match(path), title, page]).find(([match]) => match);
  if (!found) {
    location.hash = HOME;
    return;
  }
  const [match, title, page] = found;
  titled(title);
  main.replaceChildren();
  page(main, { signal: shown.signal, titled }, ...match.slice(1));
}

function titled(text) {
  document.title = `${text} – Cachewright`;
  say(text);
}

function drawHeader() {
  const session = who();
  const link = (path, text) =>
    h("a", { href: path, "aria-current": location.hash.startsWith(path) ? "page" : null }, text);
  show(header,
    h("a", { class: "brand", href: HOME }, h("img", { src: "/console/icon.svg", alt: "", width: 20, height: 20 }), "Cachewright"),
    session && h("nav", { "aria-label": "Pages" }, link("#/instances", "Instances"), link("#/tasks", "Tasks"),
      session.role === "admin" && [link("#/hosts", "Hosts"), link("#/servers", "Servers")],
      h("a", { href: "/docs" }, "API")),
    h("div", { class: "right" },
      session && session.projects.length > 1 &&
        h("label", {}, h("span", { class: "unseen" }, "Project"),
          h("select", { "data-key": "project", onchange: (event) => switchProject(event.target.value) },
            session.projects.map((project) =>
              h("option", { value: project.id, selected: project.id === session.project.id }, project.name)))),
      session && h("span", { class: "who" }, `${session.user.name}, ${session.role} in ${session.project.name}`),
      h("button", { type: "button", class: "quiet", "data-key": "theme", onclick: changeTheme }, dark() ? "Light" : "Dark"),
      session && h("button", { type: "button", class: "quiet", onclick: signOutAndReload }, "Sign out")));
}

function signInPage() {
  titled("Sign in");
  const wrong = h("p", { class: "wrong", role: "alert" });
  const name = h("input", { id: "name", name: "name", autocomplete: "username", required: true, autocapitalize: "none" });
  const password = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { type: "submit" }, "Sign in");
  const enter = async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = "";
    try {
      await signIn(name.value, password.value);
      open();
    } catch (error) {
      wrong.textContent = error.message;
      password.value = "";
      password.focus();
    } finally {
      button.disabled = false;
    }
  };
  show(main, h("form", { class: "card narrow", onsubmit: enter }, h("h1", {}, "Sign in"),
    h("label", { for: "name" }, "User"), name, h("label", { for: "password" }, "Password"), password, button, wrong,
    h("p", { class: "note" }, "No password yet? On the server: ", h("code", {}, "cachewright users set-password NAME"))));
  name.focus();
}

async function switchProject(id) {
  await changeProject(id);
  location.hash = HOME;
  open();
}

async function signOutAndReload() {
  try {
    await signOut();
  } finally {
    location.reload();
  }
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function changeTheme() {
  const theme = dark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
  drawHeader();
}

const theme = localStorage.getItem(THEME);
if (theme) document.documentElement.dataset.theme = theme;
whenSignedOut(() => resume().then(open));
addEventListener("hashchange", () => {
  open();
  main.focus();
});
resume().then(open, (error) => show(main, h("p", { class: "wrong", role: "alert" }, error.message)));
