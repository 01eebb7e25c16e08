/* What every part of the page uses. */

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
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

const TAGS = "a|abbr|b|br|center|div|em|font|h[1-6]|hr|i|iframe|img|li|object|ol|p|script|small|span|strong|style|sub|sup|svg|table|td|th|tr|u|ul|video";
const MARKUP = new RegExp(`<(?!/?(?:${TAGS})\\b|!--)`, "gi");
/* A tag and its attributes, whose values may hold anything. */
const TAG = /<(\/?[a-z][a-z\d]*)(?:"[^"]*"|'[^']*'|[^"'<>])*>/gi;

/* Shops have HTML in their titles. It is read in a document of its own, where nothing runs or loads, without
   attributes, as the browser would report each handler that it stops; `<M>` and `a < b` stay. */
export function plain(text) {
  if (!/[<&]/.test(text)) return text;
  const spaced = text.replace(MARKUP, "&lt;").replace(TAG, "<$1>").replace(/<\/?(?:br|div|h[1-6]|hr|li|p|td|tr)\b/gi, " $&");
  const read = new DOMParser().parseFromString(spaced, "text/html");
  read.querySelectorAll("script, style").forEach((part) => part.remove());
  return read.body.textContent.replace(/\s+/g, " ").trim();
}

export async function ask(path, body) {
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

/* Shows what goes wrong; a newer call of the same kind makes an older answer, or its error, void. */
const newest = new Map();
export async function latest(kind, work, show) {
  const number = (newest.get(kind) ?? 0) + 1;
  newest.set(kind, number);
  try {
    const values = await work();
    if (newest.get(kind) !== number) return;
    if ($("error").dataset.kind === kind) $("error").hidden = true;
    show(values);
  } catch (error) {
    if (newest.get(kind) !== number) return;
    $("error").textContent = error.message;
    $("error").dataset.kind = kind;
    $("error").hidden = false;
  }
}
