"use strict";
(() => {
  // Definitions: shown at once, on hover and on keyboard focus. Without this script the browser shows the titles by itself.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  for (const term of document.querySelectorAll(".term[title]")) {
    term.dataset.tip = term.title;
    term.removeAttribute("title");
    term.tabIndex = 0;
  }
  for (const title of document.querySelectorAll("svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  let shown = null;
  const show = (target) => {
    hide();
    shown = target;
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    target.setAttribute("aria-describedby", "tip");
    const at = target.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const below = at.bottom + 6 + own.height < window.innerHeight;
    tip.style.left = Math.max(4, Math.min(at.left, window.innerWidth - own.width - 8)) + "px";
    tip.style.top = Math.max(4, below ? at.bottom + 6 : at.top - own.height - 6) + "px";
  };
  const hide = () => {
    if (shown) shown.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };
  const tipped = (event) => (event.target.closest ? event.target.closest("[data-tip]") : null);
  document.addEventListener("pointerover", (event) => { const target = tipped(event); if (target) show(target); else hide(); });
  document.addEventListener("focusin", (event) => { const target = tipped(event); if (target) show(target); });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // Tables: sorted by a click on a heading, filtered by text, downloaded as CSV with the numbers in full.
  const value = (cell) => (cell.dataset.v !== undefined ? (cell.dataset.v === "" ? NaN : Number(cell.dataset.v)) : cell.textContent.trim());
  const compare = (a, b) => {
    if (typeof a !== "number" || typeof b !== "number") return String(a).localeCompare(String(b), undefined, { numeric: true });
    return a - b;
  };
  const sort = (table, column) => {
    const head = table.tHead.rows[0].cells, body = table.tBodies[0];
    const down = head[column].getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows].map((row, place) => ({ row, place, key: value(row.cells[column]) }));
    rows.sort((a, b) => {
      const missing = Number(Number.isNaN(a.key)) - Number(Number.isNaN(b.key));
      return missing || (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
    });
    body.append(...rows.map((one) => one.row));
    for (const cell of head) cell.setAttribute("aria-sort", "none");
    head[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  };
  // A cell that begins like a formula would be run by a spreadsheet.
  const quoted = (text) => {
    const safe = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? "'" + text : text;
    return /[",\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  };
  const csv = (table) =>
    [...table.rows]
      .map((row) => [...row.cells].map((cell) => quoted(cell.dataset.v !== undefined ? cell.dataset.v : (cell.dataset.name || cell.textContent.trim()))).join(","))
      .join("\n") + "\n";
  const download = (table) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
    link.download = table.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      cell.querySelector("button").addEventListener("click", () => sort(table, column));
    });
  }
  for (const tools of document.querySelectorAll(".tools[data-for]")) {
    const table = document.getElementById(tools.dataset.for), box = table.parentNode, filter = tools.querySelector("input"), said = tools.querySelector("output");
    tools.hidden = false;
    tools.querySelector("button").addEventListener("click", () => download(table));
    const edges = () => {
      const right = box.scrollLeft + box.clientWidth < box.scrollWidth - 1, cut = box.scrollWidth > box.clientWidth + 1;
      box.parentNode.classList.toggle("more-right", right);
      box.parentNode.classList.toggle("more-left", box.scrollLeft > 0);
      box.tabIndex = cut || box.scrollHeight > box.clientHeight + 1 ? 0 : -1;  // only what scrolls is reached by the keyboard
      tools.querySelector(".aside").hidden = !cut;
    };
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", table.dataset.name);
    box.addEventListener("scroll", edges, { passive: true });
    new ResizeObserver(edges).observe(box);
    edges();
    if (filter) {
      filter.addEventListener("input", () => {
        const wanted = filter.value.toLowerCase();
        let left = 0;
        for (const row of table.tBodies[0].rows) {
          row.hidden = !row.textContent.toLowerCase().includes(wanted);
          left += row.hidden ? 0 : 1;
        }
        said.textContent = wanted ? left + " rows" : "";
      });
    }
  }
})();
