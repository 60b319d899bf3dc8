"use strict";
// Sort tables by a click on a column, filter rows and artifacts by words; without this the page says the same.
const text = cell => [...cell.childNodes].filter(node => node.nodeName !== "SMALL").map(node => node.textContent).join("").trim();
const number = said => parseFloat(said.replaceAll("\u2212", "-").replaceAll(",", "").match(/^[\u2265<\s]*(-?[\d.]+)(?=$|[\s%])/)?.[1]);
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  for (const head of heads) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const up = head.ariaSort !== "ascending", at = head.cellIndex;
      const found = [...body.rows].map(row => [text(row.cells[at]), row]);
      const numeric = found.some(([said]) => said && !Number.isNaN(number(said)));
      const last = said => numeric ? Number.isNaN(number(said)) : !said;
      found.sort(([a], [b]) => last(a) - last(b) || (last(a) ? 0 : (up ? 1 : -1) * (numeric ? number(a) - number(b) : a.localeCompare(b))));
      heads.forEach(each => each.ariaSort = each === head ? (up ? "ascending" : "descending") : null);
      body.append(...found.map(([, row]) => row));
    };
  }
}
const parts = [...document.querySelectorAll("table.sortable tbody tr, details.artifact")];
const first = document.querySelector("table.sortable");
if (parts.length > 6) {
  const box = document.createElement("input");
  Object.assign(box, {type: "search", placeholder: "Filter rows: int8, fail, conv \u2026", ariaLabel: "Filter rows"});
  box.oninput = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const part of parts) {
      const said = (part.querySelector(":scope > summary") || part).textContent.toLowerCase();
      part.hidden = !words.every(word => said.includes(word));
    }
  };
  first.closest(".scroll").before(box);
}
const show = () => document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", "");
addEventListener("hashchange", show);
show();
