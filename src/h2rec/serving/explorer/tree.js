/* The tree of codes. */

import { $, ask, element, latest, plain } from "./base.js";
import { entry } from "./explorer.js";

export function walk(path) {
  latest("tree", () => ask(`/codes?limit=20&prefix=${path.join(",")}`), (tree) => {
    const steps = [element("button", { type: "button", onclick: () => walk([]) }, "all items")];
    path.forEach((code, level) => steps.push(" › ",
      element("button", { type: "button", onclick: () => walk(path.slice(0, level + 1)) }, String(code))));
    $("path").replaceChildren(...steps);
    showBranches(path, tree.branches, matchMedia("(min-width: 52rem)").matches ? 24 : 8);
    $("members").replaceChildren(...(path.length ? tree.items : []).map((item) => element("li", {}, ...entry(item))));
    if (!tree.levels) $("path").textContent = "This model has no codes.";
  });
}

function showBranches(path, branches, most) {
  const shown = branches.slice(0, branches.length > most + 3 ? most : branches.length);
  $("branches").replaceChildren(...shown.map((branch) => element("button",
    { type: "button", onclick: () => walk([...path, branch.code]) },
    element("b", {}, [...path, branch.code].join("-")),
    ` ${branch.items} ${branch.items === 1 ? "item" : "items"}, ${branch.head} head`,
    element("small", {}, branch.examples.map(plain).join(" · ")))));
  if (shown.length < branches.length) {
    $("branches").append(element("button", { type: "button", class: "more", onclick: () => {
      showBranches(path, branches, branches.length);
      $("branches").children[shown.length].focus();
    } }, `Show all ${branches.length}, largest first`));
  }
}
