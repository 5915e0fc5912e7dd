"use strict";
// Everything here adds to a page that is complete without it: tables sort, figures open large, boxes follow a slider.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- tables that sort -------------------------------------------------------------------------------------------

function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
}

function compare(one, other) {
  // What is empty comes last in either direction.
  if (one === "" || other === "") return one === other ? 0 : one === "" ? Infinity : -Infinity;
  const numbers = [Number(one), Number(other)];
  return numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1];
}

function sortBy(table, column) {
  const heads = table.tHead.rows[0].cells;
  const down = heads[column].getAttribute("aria-sort") === "descending";
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", down ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    const order = compare(valueOf(one, column), valueOf(other, column));
    return Number.isFinite(order) && !down ? -order : order === Infinity ? 1 : order === -Infinity ? -1 : order;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.append(button);
  });
}

// --- figures that open large ------------------------------------------------------------------------------------

const zoom = document.getElementById("zoom");

function open(figure) {
  const copy = figure.querySelector("svg").cloneNode(true);
  zoom.querySelector(".figure").replaceChildren(copy);
  zoom.showModal();
}

for (const figure of document.querySelectorAll(".figures figure")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  button.textContent = "Enlarge";
  const title = figure.querySelector("title");
  button.setAttribute("aria-label", `Enlarge: ${title ? title.textContent : "figure"}`);
  button.addEventListener("click", () => open(figure));
  figure.querySelector("svg").addEventListener("click", () => open(figure));
  figure.classList.add("opens");
  figure.append(button);
}
zoom.addEventListener("click", (event) => {
  if (event.target === zoom) zoom.close();
});

// --- the gallery ------------------------------------------------------------------------------------------------

const gallery = document.getElementById("gallery");

function drawBoxes(panel, data, threshold) {
  const image = panel.closest(".strip");
  const letter = Number(image.dataset.letter);
  const rows = data.boxes[image.dataset.image][Number(panel.dataset.panel)];
  const shown = rows.filter((row) => row[4] === null || row[4] >= threshold);
  const groups = shown.map(([x, y, width, height, score, label]) => {
    const group = element("g", {});
    group.style.setProperty("--colour", data.colours[label]);
    const name = data.categories[label];
    const words = score === null ? name : `${name} ${Math.round(100 * score)}`;
    const top = Math.max(y - letter / 4, letter);
    group.append(element("rect", { x, y, width, height }), element("text", { x, y: top, "font-size": letter }, words));
    return group;
  });
  panel.querySelector(".boxes").replaceChildren(...groups);
  panel.querySelector("figcaption .count").textContent = shown.length;
}

function startGallery() {
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const slider = document.getElementById("threshold");
  const told = document.getElementById("threshold-told");
  const panels = [...gallery.querySelectorAll("figure")];
  const draw = () => {
    const threshold = Number(slider.value);
    told.textContent = threshold.toFixed(2);
    for (const panel of panels) if (!panel.hidden) drawBoxes(panel, data, threshold);
  };
  const show = (choice) => {
    gallery.classList.toggle("single", choice !== "all");
    for (const panel of panels) panel.hidden = choice !== "all" && panel.dataset.panel !== choice;
    draw();
  };
  slider.addEventListener("input", draw);
  for (const radio of gallery.querySelectorAll("input[name=panel]")) {
    radio.addEventListener("change", () => show(radio.value));
  }
  const chosen = gallery.querySelector("input[name=panel]:checked");
  gallery.querySelector(".controls").hidden = false;
  show(chosen.value);
}

if (gallery) startGallery();
