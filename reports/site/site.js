// Tables that sort, figures that zoom, the origin of a number beside it, the menu of narrow screens. Without it every
// page can be read as it is: the links lead to the files.
"use strict";
document.documentElement.classList.add("js");

// The value of a cell: a number where the column has numbers, else its text; null for a dash.
const collator = new Intl.Collator("en", { numeric: true });
function valueOf(cell, numeric) {
  const text = cell.textContent.trim();
  if (text === "-" || text === "") return null;
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  if (!numeric) return text;
  const number = parseFloat(text.replaceAll(",", "").replace("−", "-"));
  return Number.isNaN(number) ? null : number;
}

function compare(first, second) {
  if (typeof first === "number" && typeof second === "number") return first - second;
  return collator.compare(String(first), String(second));
}

function sortBy(table, column, direction) {
  const heading = table.tHead.rows[0].cells[column];
  const numeric = heading.classList.contains("number") || heading.style.textAlign === "right";
  // Rows are compared within their source; its heading stays on top.
  for (const body of table.tBodies) {
    const keyed = body.originalRows.map((row) => [valueOf(row.cells[column], numeric), row]);
    const shown = keyed.filter(([key]) => key !== null);
    const dashes = keyed.filter(([key]) => key === null);
    if (direction !== "none") shown.sort(([a], [b]) => (direction === "ascending" ? compare(a, b) : compare(b, a)));
    body.append(...(direction === "none" ? body.originalRows : [...shown, ...dashes].map(([, row]) => row)));
  }
  for (const cell of table.tHead.rows[0].cells) cell.setAttribute("aria-sort", cell === heading ? direction : "none");
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const body of table.tBodies) body.originalRows = [...body.rows].filter((row) => !row.matches(".source"));
  if (Math.max(...[...table.tBodies].map((body) => body.originalRows.length)) < 2) continue;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    // The best first: the most of what is better for being more.
    const order = heading.dataset.better === "more" ? ["descending", "ascending"] : ["ascending", "descending"];
    order.unshift("none");
    button.addEventListener("click", () => {
      const next = order[(order.indexOf(heading.getAttribute("aria-sort")) + 1) % 3];
      sortBy(table, column, next);
    });
  });
}

// A figure in full view; Escape and a click close it, and the focus goes back to where it was.
const dialog = document.createElement("dialog");
dialog.className = "view";
dialog.innerHTML = '<form method="dialog"><button>Close</button></form><img alt="">';
document.body.append(dialog);
dialog.addEventListener("click", (event) => event.target.tagName !== "BUTTON" && dialog.close());
for (const link of document.querySelectorAll("a.zoom")) {
  link.setAttribute("aria-haspopup", "dialog");
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab, as asked for
    event.preventDefault();
    const [small, large] = [link.querySelector("img"), dialog.querySelector("img")];
    large.src = small.src;
    large.alt = small.alt;
    dialog.setAttribute("aria-label", small.alt);
    dialog.showModal();
  });
}

// Where a number is from, on hover and on focus.
const tip = document.createElement("div");
tip.id = "tip";
tip.setAttribute("role", "tooltip");
tip.hidden = true;
document.body.append(tip);
let told = null; // the number that the origin is shown of
function placeTip() {
  if (!told) return;
  const [at, own] = [told.getBoundingClientRect(), tip.getBoundingClientRect()];
  const left = Math.min(at.left, document.documentElement.clientWidth - own.width - 8);
  const below = at.bottom + 6 + own.height <= window.innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - own.height - 6)}px`;
}
function showTip(link) {
  hideTip();
  told = link;
  tip.textContent = link.dataset.origin;
  tip.hidden = false;
  link.setAttribute("aria-describedby", "tip");
  placeTip();
}
function hideTip() {
  tip.hidden = true;
  told?.removeAttribute("aria-describedby");
  told = null;
}
for (const link of document.querySelectorAll("a.origin")) {
  link.dataset.origin = link.title;
  link.removeAttribute("title");
  for (const event of ["mouseenter", "focus"]) link.addEventListener(event, () => showTip(link));
  for (const event of ["mouseleave", "blur"]) link.addEventListener(event, hideTip);
}
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
window.addEventListener("scroll", placeTip, { capture: true, passive: true });

const menu = document.querySelector("button.menu");
menu.addEventListener("click", () => {
  menu.setAttribute("aria-expanded", String(menu.getAttribute("aria-expanded") !== "true"));
});
