"use strict";

/* On narrow screens these tables are laid out as grids, which costs them their meaning as tables
   unless it is said. */
const roles = [["", "table"], ["thead, tbody", "rowgroup"], ["tr", "row"], ["thead th", "columnheader"],
  ["tbody th", "rowheader"], ["td", "cell"]];
for (const table of document.querySelectorAll(".dots, .winners")) {
  for (const [parts, role] of roles) {
    for (const part of parts ? table.querySelectorAll(parts) : [table]) part.role = role;
  }
}

/* Show the figure that was chosen; where the other choices have none for it, take its first. */
for (const panel of document.querySelectorAll("[data-chooser]")) {
  const selects = [...panel.querySelectorAll("select[data-by]")];
  const figures = [...panel.querySelectorAll("figure[data-keys]")]
    .map((element) => ({ element, keys: JSON.parse(element.dataset.keys) }));
  for (const select of selects) {
    select.addEventListener("change", () => {
      const fits = (figure, asked) => asked.every((s) => figure.keys[s.dataset.by] === s.value);
      const shown = figures.find((figure) => fits(figure, selects))
        ?? figures.find((figure) => fits(figure, [select]));
      for (const figure of figures) figure.element.hidden = figure !== shown;
      for (const other of selects) other.value = shown.keys[other.dataset.by];
    });
  }
}

/* Sort a table by a column; empty cells stay last in either order. */
for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const isNumber = table.tBodies[0].querySelector(`td:nth-child(${column + 1})[data-key]`);
    const before = heading.getAttribute("aria-sort");
    // Numbers are first asked for from the top, names from A.
    const order = before ? (before === "ascending" ? "descending" : "ascending")
      : isNumber ? "descending" : "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => {
      const cell = row.cells[column];
      if (isNumber) return "key" in cell.dataset ? Number(cell.dataset.key) : null;
      return cell.textContent.trim();
    };
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: key(row) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * (isNumber ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows.map((entry) => entry.row));
  });
}

/* Highlight encoders in the charts of few labels. */
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    const marked = `.curve [data-encoder="${CSS.escape(button.dataset.encoder)}"]`;
    for (const element of document.querySelectorAll(marked)) element.classList.toggle("on", on);
  });
}

/* Place the labels of a scatter so that none covers another one, a dot or a whisker; where the name
   does not fit, its number in the list beside stands alone. */
function placeLabels(area) {
  const frame = area.getBoundingClientRect();
  if (!frame.width) return;
  const spots = [...area.querySelectorAll(".spot")].map((spot) => ({
    label: spot.firstElementChild,
    x: frame.width * share(spot, "--x"),
    y: frame.height * (1 - share(spot, "--v")),
    top: frame.height * (1 - share(spot, "--h")),
    bottom: frame.height * (1 - share(spot, "--l")),
  }));
  const taken = spots.flatMap(({ x, y, top, bottom }) => [
    { left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 },
    { left: x - 1, right: x + 1, top, bottom },
  ]);
  const isFree = (box) => box.left >= 0 && box.right <= frame.width && box.top >= -8
    && box.bottom <= frame.height && taken.every((other) => box.right < other.left
      || box.left > other.right || box.bottom < other.top || box.top > other.bottom);
  const forms = frame.width < 480 ? [true] : [false, true];
  for (const { label, x, y } of spots) {
    for (const isShort of forms) {
      label.classList.toggle("short", isShort);
      const { offsetWidth: width, offsetHeight: height } = label;
      const box = candidates(x, y, width, height, isShort ? 60 : 12).find(isFree);
      if (box || isShort) {
        const placed = box ?? candidates(x, y, width, height, 12)[0];
        taken.push(placed);
        label.style.setProperty("--dx", `${placed.left - x}px`);
        label.style.setProperty("--dy", `${y - placed.bottom}px`);
        break;
      }
    }
  }
}

function share(element, name) {
  return parseFloat(element.style.getPropertyValue(name)) / 100;
}

function candidates(x, y, width, height, reach) {
  const boxes = [];
  for (let gap = 5; gap <= reach; gap += 4) {
    for (const [right, down] of [[1, -1], [1, 1], [-1, -1], [-1, 1], [1, 0], [-1, 0], [0, -1], [0, 1]]) {
      const left = x + right * gap + (right - 1) * width / 2;
      const top = y + down * gap + (down - 1) * height / 2;
      boxes.push({ left, right: left + width, top, bottom: top + height });
    }
  }
  return boxes;
}

const sizes = new ResizeObserver((entries) => entries.forEach((entry) => placeLabels(entry.target)));
for (const area of document.querySelectorAll(".scatter .area")) sizes.observe(area);

/* Fill a confusion matrix with the counts of another encoder, and tell the counts of a cell. */
for (const figure of document.querySelectorAll(".confusion")) {
  const counts = JSON.parse(figure.querySelector("script").textContent);
  const select = figure.querySelector(".choice select");
  const rows = [...figure.querySelector("tbody").rows];
  const status = figure.querySelector(".status");
  const row = (index) => counts[select.value].slice(index * rows.length, (index + 1) * rows.length);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  select.addEventListener("change", () => rows.forEach((element, index) => {
    const values = row(index);
    const total = sum(values);
    values.forEach((value, column) => {
      const cell = element.cells[column + 1];
      const percent = total ? Math.round(100 * value / total) : 0;
      cell.textContent = percent || "";
      cell.style.cssText = percent ? `--s:${percent / 100}` : "";
    });
  }));
  figure.querySelector("tbody").addEventListener("pointerover", (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const values = row(cell.parentElement.sectionRowIndex);
    const predicted = figure.querySelector("thead").rows[0].cells[cell.cellIndex].textContent;
    const share = (100 * values[cell.cellIndex - 1] / (sum(values) || 1)).toFixed(1);
    status.textContent = `True ${cell.parentElement.cells[0].textContent}, predicted ${predicted}: `
      + `${values[cell.cellIndex - 1]} of ${sum(values)} (${share} %)`;
  });
}

/* Copy a command; pages opened from a disk may lack the clipboard, then it is only selected. */
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
}

document.querySelector(".theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
});
