"use strict";

const $ = (id) => document.getElementById(id);
const state = { history: [], titles: new Map(), found: [], chosen: -1, path: [] };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name === "style") made.style.cssText = value; // an attribute would be stopped by the content policy
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function ask(path, body) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const options = { headers };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server can't be reached");
  }
  if (answer.status === 401) $("token-form").hidden = false;
  const values = await answer.json();
  if (!answer.ok) throw new Error(values.error + (values.hint ? ` (${values.hint})` : ""));
  return values;
}

/* Shows what goes wrong; a newer call of the same kind makes an older answer void. */
const newest = new Map();
async function latest(kind, work, show) {
  const number = (newest.get(kind) ?? 0) + 1;
  newest.set(kind, number);
  try {
    const values = await work();
    if (newest.get(kind) !== number) return;
    $("error").hidden = true;
    show(values);
  } catch (error) {
    if (newest.get(kind) !== number) return;
    $("error").textContent = error.message;
    $("error").hidden = false;
  }
}

const badge = (head) => element("span", { class: `badge ${head ? "head" : "tail"}` }, head ? "head" : "tail");
const codesOf = (codes) => codes
  ? [element("button", { class: "codes", type: "button", title: "Show in the code tree",
      onclick: () => { walk(codes); $("tree-title").scrollIntoView({ behavior: "smooth" }); } }, codes.join("-"))]
  : [];

function titleOf(item) {
  const named = Object.entries(item.fields).find(([name, text]) => text && ["title", "name"].includes(name.toLowerCase()));
  const first = Object.values(item.fields).find(Boolean);
  return named ? named[1] : first || item.item_id;
}

/* What tells items of one name apart: the fields that are not the title, on one line. */
function aboutOf(item, title) {
  const text = Object.values(item.fields).filter((value) => value && value !== title).join(" · ");
  return text ? [element("small", { class: "about", title: text }, text)] : [];
}
const nameOf = (item, title, attributes) => element("span", { class: "entry" },
  element("button", { class: "name", type: "button", ...attributes, onclick: () => add(item) }, title), ...aboutOf(item, title));

function add(item) {
  state.titles.set(item.item_id, titleOf(item));
  state.history.push(item.item_id);
  showHistory();
}

/* -- search ------------------------------------------------------------------------------------ */

function search() {
  const words = encodeURIComponent($("query").value.slice(0, 200));
  latest("search", () => ask(`/items?limit=12&query=${words}`), ({ items }) => {
    state.found = items;
    state.chosen = -1;
    $("found").replaceChildren(...items.map((item, place) => element("li",
      { role: "option", id: `found-${place}`, "aria-selected": "false" },
      nameOf(item, item.title, { tabindex: "-1" }),
      badge(item.head), ...codesOf(item.codes))));
    if (!items.length) $("found").append(element("li", { class: "hint" }, "nothing found"));
  });
}

function choose(step) {
  if (!state.found.length) return;
  state.chosen = (state.chosen + step + state.found.length) % state.found.length;
  [...$("found").children].forEach((row, place) => row.setAttribute("aria-selected", place === state.chosen));
  $("query").setAttribute("aria-activedescendant", `found-${state.chosen}`);
  $(`found-${state.chosen}`).scrollIntoView({ block: "nearest" });
}

let typing;
$("query").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 120); });
$("query").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") choose(1);
  else if (event.key === "ArrowUp") choose(-1);
  else if (event.key === "Enter" && state.found.length) add(state.found[Math.max(0, state.chosen)]);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "TEXTAREA"].includes(document.activeElement.tagName)) {
    event.preventDefault();
    $("query").focus();
  }
});

/* -- history and recommendations ----------------------------------------------------------------- */

function showHistory() {
  $("history").replaceChildren(...state.history.map((id, place) => element("li", {},
    element("span", { class: "name" }, state.titles.get(id)),
    element("button", { type: "button", "aria-label": `Remove ${state.titles.get(id)}`,
      onclick: () => { state.history.splice(place, 1); showHistory(); } }, "✕"))));
  $("history-empty").hidden = state.history.length > 0;
  recommend();
}

function recommend() {
  const tail = Number($("tail").value) / 100;
  $("tail-shown").textContent = tail ? `${tail * 100} %` : "–";
  const k = Math.min(100, Math.max(1, Math.round(Number($("k").value)) || 10));
  const body = { history: state.history, k, explain: true, tail_share: tail || null };
  latest("recommend", () => ask("/recommend", body), showAnswer);
}

function showAnswer(answer) {
  $("answer-note").textContent = (answer.from_popularity ? "The most popular items. " : "")
    + (answer.unknown.length ? `Skipped as unknown: ${answer.unknown.join(", ")}` : "");
  $("alpha").hidden = !answer.alpha;
  if (answer.alpha) {
    $("alpha").replaceChildren("what the intent asks for, codes coarse to fine: "
      + answer.alpha.map((weight) => `${Math.round(weight * 100)} %`).join(", "),
      element("div", { class: "bar", "aria-hidden": "true" },
        ...answer.alpha.map((weight) => element("i", { style: `width:${weight * 100}%` }))));
  }
  $("answer").replaceChildren(...answer.items.map((item, place) => element("li", {},
    element("span", { class: "rank" }, String(place + 1)),
    nameOf(item, titleOf(item), { title: "Add to the history" }),
    badge(item.head), ...codesOf(item.codes),
    element("span", { class: "score" }, item.score.toFixed(2)),
    ...why(item.explanation))));
}

const spoken = {
  follows: (item) => `often follows ${item}`,
  precedes: (item) => `often comes before ${item}`,
  goes_with: (item) => `often goes with ${item}`,
  like_goes_with: (item) => `items like it often go with items like ${item}`,
  kind_goes_with: (item) => `its kind often goes with the kind of ${item}`,
  similar_text: (item) => `its text is like that of ${item}`,
};

function why(explanation) {
  if (!explanation) return [];
  const parts = Object.entries(explanation.branches);
  const whole = parts.reduce((sum, [, value]) => sum + Math.abs(value), 0) || 1;
  const reasons = explanation.reasons.map(({ item_id: id, kind, strength }) => {
    const item = state.titles.get(id) ?? id;
    if (kind === "codes") return `${strength} ${strength === 1 ? "code" : "codes"} shared with ${item}`;
    return `${spoken[kind](item)} (${Math.round(strength * 100)}%)`;
  });
  return [element("div", { class: "why" },
    element("div", { class: "bar", "aria-hidden": "true" }, ...parts.map(([, value], place) =>
      element("i", { class: `branch-${place % 4}`, style: `width:${Math.abs(value) / whole * 100}%` }))),
    ...parts.flatMap(([name, value], place) => [place ? " + " : "",
      element("b", { class: `part branch-${place % 4}` }, `${name} ${value.toFixed(2)}`)]),
    reasons.length ? ` · ${reasons.join("; ")}` : "")];
}

$("k").addEventListener("change", recommend);
$("tail").addEventListener("input", recommend);
$("clear").addEventListener("click", () => { state.history = []; showHistory(); });

/* -- code tree ----------------------------------------------------------------------------------- */

function walk(path) {
  state.path = path;
  latest("tree", () => ask(`/codes?limit=20&prefix=${path.join(",")}`), (tree) => {
    const steps = [element("button", { type: "button", onclick: () => walk([]) }, "all items")];
    path.forEach((code, level) => steps.push(" › ",
      element("button", { type: "button", onclick: () => walk(path.slice(0, level + 1)) }, String(code))));
    $("path").replaceChildren(...steps);
    showBranches(path, tree.branches, matchMedia("(min-width: 52rem)").matches ? 24 : 8);
    $("members").replaceChildren(...(path.length ? tree.items : []).map((item) => element("li", {},
      nameOf(item, item.title, { title: "Add to the history" }),
      badge(item.head), ...codesOf(item.codes))));
    if (!tree.levels) $("path").textContent = "This model has no codes.";
  });
}

function showBranches(path, branches, most) {
  const shown = branches.slice(0, branches.length > most + 3 ? most : branches.length);
  $("branches").replaceChildren(...shown.map((branch) => element("button",
    { type: "button", onclick: () => walk([...path, branch.code]) },
    element("b", {}, [...path, branch.code].join("-")),
    ` ${branch.items} ${branch.items === 1 ? "item" : "items"}, ${branch.head} head`,
    element("small", {}, branch.examples.join(" · ")))));
  if (shown.length < branches.length) {
    $("branches").append(element("button", { type: "button", class: "more", onclick: () => {
      showBranches(path, branches, branches.length);
      $("branches").children[shown.length].focus();
    } }, `Show all ${branches.length}, largest first`));
  }
}

/* -- the server ---------------------------------------------------------------------------------- */

function showState({ status, items, bundle }) {
  $("state").textContent = `${status}, ${items.toLocaleString("en")} items in ${bundle}`;
}

function start() {
  latest("state", () => ask("/healthz"), showState);
  search();
  showHistory();
  walk([]);
}

$("reload").addEventListener("click", () => latest("reload", () => ask("/reload", {}), (values) => {
  showState(values);
  start();
}));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  $("token-form").hidden = true;
  start();
});
start();
