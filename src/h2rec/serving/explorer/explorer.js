import { $, ask, element, latest, plain } from "./base.js";
import { walk } from "./tree.js";

/* `user`: whose history it is, until it is changed by hand. `where`: what recommended items must have, by field. */
const state = { history: [], user: "", where: new Map(), fields: [], titles: new Map(), found: [], chosen: -1 };
const TITLES_AT_ONCE = 50; // their ids are in the line of a request, which is bounded
const LIST_HEIGHT = 384; // of the history, in pixels
const COLOURS = 8; // of branches, in style.css

/* -- items --------------------------------------------------------------------------------------- */

function fieldsOf(item) {
  const fields = Object.entries(item.fields).map(([name, text]) => [name, plain(text ?? "")]).filter(([, text]) => text);
  const named = fields.find(([name]) => ["title", "name"].includes(name.toLowerCase())) ?? fields[0];
  return { title: named?.[1] ?? item.item_id, others: fields.filter((field) => field !== named) };
}

function titleOf(item) {
  return fieldsOf(item).title;
}

/* The id, and what tells items of one name apart: the fields that are not the title, by name. */
function aboutOf(item) {
  const text = [item.item_id, ...fieldsOf(item).others.map((field) => field.join(" "))].join(" · ");
  return element("small", { class: "about", title: text }, element("code", {}, item.item_id), text.slice(item.item_id.length));
}

/* An item in a list: its title, which adds it to the history, its id and fields, head or tail, codes. */
export function entry(item, attributes = { title: "Add to the history" }) {
  const title = titleOf(item);
  const codes = item.codes ?? [];
  return [
    element("span", { class: "entry" },
      element("button", { class: "name", type: "button", ...attributes, onclick: () => add(item) }, title), aboutOf(item)),
    element("span", { class: `badge ${item.head ? "head" : "tail"}` }, item.head ? "head" : "tail"),
    ...(codes.length ? [element("button", { class: "codes", type: "button", title: "Show in the code tree",
      onclick: () => { walk(codes); $("tree-title").scrollIntoView({ behavior: "smooth" }); } }, codes.join("-"))] : []),
  ];
}

/* -- search -------------------------------------------------------------------------------------- */

function search() {
  const words = encodeURIComponent($("query").value.slice(0, 200));
  latest("search", () => ask(`/items?limit=12&query=${words}`), ({ items }) => {
    state.found = items;
    state.chosen = -1;
    $("found").replaceChildren(...items.map((item, place) => element("li",
      { role: "option", id: `found-${place}`, "aria-selected": "false" }, ...entry(item, { tabindex: "-1" }))));
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
  if (event.key === "/" && !["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement.tagName)) {
    event.preventDefault();
    $("query").focus();
  }
});

/* -- the question, and its address ---------------------------------------------------------------- */

/* What is asked stands behind the #, which browsers send to no server: a link to share, and a step for Back. */
function keep(how) {
  const words = new URLSearchParams(state.user ? { user: state.user } : state.history.map((id) => ["item", id]));
  state.where.forEach((value, name) => words.append(`where.${name}`, value));
  if ($("k").value !== "10") words.set("k", $("k").value);
  if ($("tail").value !== "0") words.set("tail", $("tail").value);
  const address = `#${words}`;
  if (address !== (location.hash || "#")) history[how](null, "", address);
}

function open() {
  const words = new URLSearchParams(location.hash.slice(1));
  state.user = words.get("user") ?? "";
  state.history = state.user ? [] : words.getAll("item");
  state.where = new Map([...words].filter(([name]) => name.startsWith("where.")).map(([name, value]) => [name.slice(6), value]));
  $("k").value = words.get("k") ?? "10";
  $("tail").value = words.get("tail") ?? "0";
  showFilters();
  recommend();
}

function question(items, user = "") {
  state.history = items;
  state.user = user;
  changed();
}

function changed(how = "pushState") {
  keep(how);
  recommend();
}

function add(item) {
  state.titles.set(item.item_id, titleOf(item));
  question([...state.history, item.item_id]);
}

/* Attributes whose values are few are chosen from, others typed. What only the address names is shown too. */
function showFilters() {
  const others = [...state.where.keys()].filter((name) => !state.fields.some((field) => field.name === name));
  const fields = [...state.fields, ...others.map((name) => ({ name, distinct: Infinity, values: [] }))];
  $("filters").replaceChildren(...fields.map(({ name, distinct, values }, place) => {
    const chosen = state.where.get(name) ?? "";
    const options = values.map(({ value, items }) =>
      element("option", { value }, `${plain(value)} (${items.toLocaleString("en")})`));
    const onchange = (event) => {
      const value = event.target.value;
      if (value) state.where.set(name, value); else state.where.delete(name);
      changed();
    };
    if (distinct > values.length) {
      return element("label", {}, name, element("input", { list: `values-${place}`, value: chosen, placeholder: "any", onchange }),
        element("datalist", { id: `values-${place}` }, ...options));
    }
    const known = !chosen || values.some(({ value }) => value === chosen);
    const control = element("select", { onchange }, element("option", { value: "" }, "any"), ...options,
      ...(known ? [] : [element("option", { value: chosen }, chosen)]));
    control.value = chosen;
    return element("label", {}, name, control);
  }));
}

/* -- history and recommendations ------------------------------------------------------------------ */

function showHistory() {
  const said = (id) => state.titles.get(id) ?? "not in this catalogue";
  $("history").replaceChildren(...state.history.map((id, place) => element("li", {},
    element("span", { class: "entry" }, said(id), element("small", { class: "about" }, element("code", {}, id))),
    element("button", { type: "button", "aria-label": `Remove ${id} ${said(id)}`,
      onclick: () => question(state.history.toSpliced(place, 1)) }, "✕"))));
  showLatest($("history"));
  $("history-empty").hidden = state.history.length > 0 || state.user !== "";
  $("user").value = state.user;
}

/* As many of the latest rows as fit whole; the earlier ones are above. */
function showLatest(list) {
  let height = 0;
  for (const row of [...list.children].reverse()) {
    if (height && height + row.offsetHeight > LIST_HEIGHT) break;
    height += row.offsetHeight;
  }
  list.style.maxHeight = `${height}px`;
  list.scrollTop = list.scrollHeight;
}

async function learn(ids) {
  const missing = [...new Set(ids)].filter((id) => !state.titles.has(id));
  for (let start = 0; start < missing.length; start += TITLES_AT_ONCE) {
    const words = new URLSearchParams(missing.slice(start, start + TITLES_AT_ONCE).map((id) => ["item_id", id]));
    const { items } = await ask(`/items?${words}`);
    items.forEach((item) => state.titles.set(item.item_id, titleOf(item)));
  }
}

function recommend() {
  const tail = Number($("tail").value) / 100;
  $("tail-shown").textContent = tail ? `${tail * 100} %` : "–";
  const k = Math.min(100, Math.max(1, Math.round(Number($("k").value)) || 10));
  const { user } = state;
  const where = Object.fromEntries([...state.where].map(([name, value]) => [name, [value]]));
  const body = { history: state.history, k, explain: true, tail_share: tail || null, filter: { where } };
  showHistory();
  $("answer").classList.add("old");
  latest("recommend", async () => {
    if (user) body.history = (await ask(`/history?user_id=${encodeURIComponent(user)}`)).history;
    const answer = await ask("/recommend", body);
    await learn(body.history);
    return answer;
  }, (answer) => {
    state.history = body.history;
    showHistory();
    showAnswer(answer);
  });
}

function showAnswer(answer) {
  $("answer-note").textContent = (answer.from_popularity ? "The most popular items. " : "")
    + (answer.unknown.length ? `Skipped as unknown: ${answer.unknown.join(", ")}. ` : "")
    + (answer.items.length ? "" : "Filter and history leave no item.");
  $("alpha").hidden = !answer.alpha;
  if (answer.alpha) {
    $("alpha").replaceChildren("what the intent asks for, codes coarse to fine: "
      + answer.alpha.map((weight) => `${Math.round(weight * 100)} %`).join(", "),
      element("div", { class: "bar", "aria-hidden": "true" },
        ...answer.alpha.map((weight) => element("i", { style: `width:${weight * 100}%` }))));
  }
  $("answer").replaceChildren(...answer.items.map((item, place) => {
    const [name, ...rest] = entry(item);
    return element("li", {}, element("span", { class: "rank" }, String(place + 1)), name, ...rest,
      element("span", { class: "score" }, item.score.toFixed(2)), ...why(item.explanation));
  }));
  $("answer").classList.remove("old");
}

const spoken = {
  follows: (item) => `often follows ${item}`,
  precedes: (item) => `often comes before ${item}`,
  goes_with: (item) => `often goes with ${item}`,
  like_goes_with: (item) => `items like it often go with items like ${item}`,
  kind_goes_with: (item) => `its kind often goes with the kind of ${item}`,
  similar_text: (item) => `its text is like that of ${item}`,
  similar_vectors: (item) => `the model takes it to be like ${item}`,
};

function why(explanation) {
  if (!explanation) return [];
  const parts = Object.entries(explanation.branches).map(([name, value], place) => ({ name, value, colour: `branch-${place % COLOURS}` }));
  const said = parts.filter(({ value }) => Math.abs(value) >= 0.005); // others would read 0.00
  const whole = parts.reduce((sum, { value }) => sum + Math.abs(value), 0) || 1;
  const reasons = explanation.reasons.map(({ item_id: id, kind, strength }) => {
    const item = state.titles.get(id) ?? id;
    if (kind === "codes") return `${strength} ${strength === 1 ? "code" : "codes"} shared with ${item}`;
    return `${spoken[kind](item)} (${Math.round(strength * 100)}%)`;
  });
  return [element("div", { class: "why" },
    element("div", { class: "bar", "aria-hidden": "true" }, ...parts.map(({ value, colour }) =>
      element("i", { class: colour, style: `width:${Math.abs(value) / whole * 100}%` }))),
    ...said.flatMap(({ name, value, colour }, place) => [place ? " + " : "",
      element("b", { class: `part ${colour}` }, `${name} ${value.toFixed(2)}`)]),
    reasons.length ? ` · ${reasons.join("; ")}` : "")];
}

$("k").addEventListener("change", () => changed());
$("tail").addEventListener("input", () => changed("replaceState")); // a slider passes many values
$("clear").addEventListener("click", () => question([]));
$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  question([], $("user").value.trim());
});
addEventListener("hashchange", open);

/* -- the server ---------------------------------------------------------------------------------- */

function showState({ status, items, bundle, users }) {
  $("user-form").hidden = users === undefined;
  $("state").textContent = `${status}, ${items.toLocaleString("en")} items in ${bundle}`
    + (users === undefined ? "" : `, histories of ${users.toLocaleString("en")} ${users === 1 ? "user" : "users"}`);
}

function start() {
  state.titles.clear();
  latest("state", () => ask("/healthz"), showState);
  latest("fields", () => ask("/fields"), ({ fields }) => { state.fields = fields; showFilters(); });
  search();
  open();
  walk([]);
}

$("reload").addEventListener("click", () => latest("reload", () => ask("/reload", {}), start));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  $("token-form").hidden = true;
  start();
});
start();
