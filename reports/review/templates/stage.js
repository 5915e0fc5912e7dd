// --- the picture and the boxes on it --------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const stage = document.getElementById("stage");
const canvas = document.getElementById("canvas");
const photo = document.getElementById("photo");
const MARGIN_PX = 14;
const HANDLE_PX = 9;
const LETTER_PX = 12;
const LARGEST_ZOOM = 60;
const MARKS = { annotated: "", open: "", accept: "\u2713", reject: "\u2717", added: "+" };
const DRAWN_FIRST = ["annotated", "reject", "open", "accept", "added"];

// Centre of what is seen, in pixels of the image; zoom 1 shows all of it.
const view = { x: 0, y: 0, zoom: 1 };
const shown = { labels: "proposals", boxes: true, chosen: null, preview: null };

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- what is on the image -------------------------------------------------------------------------------------------

function proposalItem(place) {
  const entry = decisionOf(place);
  return {
    key: `p${place}`,
    place,
    status: entry ? entry.decision : "open",
    category: entry?.category ?? PROPOSED.category[place],
    bbox: entry?.bbox ?? boxAt(PROPOSED.bbox, place),
    score: PROPOSED.score[place] / 1000,
  };
}

// What the person decides about in this step, in the order of the list.
function items() {
  const { image } = steps[at];
  const proposed = decidable(steps[at]).map(proposalItem);
  const added = recordOf(image).added.map(({ category, bbox }, index) => ({ key: `a${index}`, index, status: "added", category, bbox }));
  return [...proposed, ...added];
}

// What is only looked at: annotated boxes, and proposals of other categories where one category is asked.
function context() {
  const { image, category } = steps[at];
  const annotated = annotatedOf(image).map((place) => (
    { key: "", status: "annotated", category: DATA.annotated.category[place], bbox: boxAt(DATA.annotated.bbox, place) }));
  if (category === null) return annotated;
  const others = proposalsOf(image).filter((place) => PROPOSED.category[place] !== category);
  return [...annotated, ...others.map((place) => ({ ...proposalItem(place), key: "", faint: true }))];
}

function chosenItem() {
  return items().find((item) => item.key === shown.chosen) ?? null;
}

// --- frames: pixels of the screen and of the image ------------------------------------------------------------------

function imageSize() {
  const { image } = steps[at];
  return [IMAGES.width[image], IMAGES.height[image]];
}

// Pixels of the screen for one of the image.
function scale() {
  const [width, height] = imageSize();
  const fit = Math.min((stage.clientWidth - 2 * MARGIN_PX) / width, (stage.clientHeight - 2 * MARGIN_PX) / height);
  return Math.max(fit, 0.001) * view.zoom;
}

// The part of the image frame that the stage shows.
function seen() {
  const [width, height] = [stage.clientWidth / scale(), stage.clientHeight / scale()];
  return { x: view.x - width / 2, y: view.y - height / 2, width, height };
}

function toImage({ clientX, clientY }) {
  const frame = stage.getBoundingClientRect();
  const { x, y } = seen();
  return [x + (clientX - frame.left) / scale(), y + (clientY - frame.top) / scale()];
}

function lookAt(x, y) {
  const [width, height] = imageSize();
  view.x = Math.min(Math.max(x, 0), width);
  view.y = Math.min(Math.max(y, 0), height);
}

function seeAll() {
  const [width, height] = imageSize();
  Object.assign(view, { x: width / 2, y: height / 2, zoom: 1 });
}

// Zooms so that a point of the image stays where it is on the screen.
function zoomBy(factor, [x, y] = [view.x, view.y]) {
  const zoom = Math.min(Math.max(view.zoom * factor, 1), LARGEST_ZOOM);
  const ratio = view.zoom / zoom;
  view.zoom = zoom;
  if (zoom === 1) seeAll();
  else lookAt(x + (view.x - x) * ratio, y + (view.y - y) * ratio);
}

function zoomTo([x, y, width, height]) {
  const wanted = 0.35 * Math.min(stage.clientWidth / width, stage.clientHeight / height);
  view.zoom = Math.min(Math.max((wanted / scale()) * view.zoom, 1), LARGEST_ZOOM);
  lookAt(x + width / 2, y + height / 2);
}

// Once zoomed, the view follows the box that is chosen.
function follow(item) {
  if (!item || view.zoom === 1) return;
  const frame = seen();
  const [x, y, width, height] = item.bbox;
  const inside = x >= frame.x && y >= frame.y && x + width <= frame.x + frame.width && y + height <= frame.y + frame.height;
  if (!inside) lookAt(x + width / 2, y + height / 2);
}

// --- drawing --------------------------------------------------------------------------------------------------------

function captionOf({ status, category, score }) {
  const mark = MARKS[status] && `${MARKS[status]} `;
  return `${mark}${CATEGORIES.name[category]}${score === undefined ? "" : ` ${Math.round(100 * score)}`}`;
}

function labelled(item) {
  if (item.key && item.key === shown.chosen) return true;
  return shown.labels === "all" || (shown.labels === "proposals" && item.status !== "annotated" && !item.faint);
}

function drawBox(item) {
  const [x, y, width, height] = shown.preview?.key === item.key && item.key ? shown.preview.bbox : item.bbox;
  const chosen = item.key !== "" && item.key === shown.chosen;
  const group = element("g", { class: `box ${item.status}${chosen ? " chosen" : ""}${item.faint ? " faint" : ""}` });
  group.append(element("rect", { x, y, width, height, class: "under" }), element("rect", { x, y, width, height, class: "line" }));
  if (item.status === "reject") group.append(element("path", { d: `M${x} ${y}l${width} ${height}m0 ${-height}l${-width} ${height}`, class: "line" }));
  if (labelled(item)) {
    const letter = LETTER_PX / scale();
    const above = y - letter * 0.35 > letter + seen().y;
    group.append(element("text", { x, y: above ? y - letter * 0.35 : y + height + letter * 1.05, "font-size": letter }, captionOf(item)));
  }
  if (chosen) group.append(...handles([x, y, width, height]));
  return group;
}

function handles([x, y, width, height]) {
  const side = HANDLE_PX / scale();
  // Of a small box the edges' handles would cover the corners'.
  const edges = Math.min(width, height) > 3.5 * side ? ["nw", "n", "ne", "e", "se", "s", "sw", "w"] : ["nw", "ne", "se", "sw"];
  return edges.map((edge) => {
    const across = edge.includes("w") ? 0 : edge.includes("e") ? 1 : 0.5;
    const down = edge.includes("n") ? 0 : edge.includes("s") ? 1 : 0.5;
    const place = { x: x + across * width - side / 2, y: y + down * height - side / 2, width: side, height: side };
    return element("rect", { ...place, class: "handle", "data-edges": edge });
  });
}

function drawStage() {
  const { x, y, width, height } = seen();
  canvas.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  const all = shown.boxes ? [...context(), ...items()] : [];
  const order = (item) => (item.key && item.key === shown.chosen ? DRAWN_FIRST.length : DRAWN_FIRST.indexOf(item.status));
  const groups = all.sort((one, other) => order(one) - order(other)).map(drawBox);
  if (shown.preview?.key === "new") groups.push(drawBox({ key: "new", status: "added", category: newCategory(), bbox: shown.preview.bbox }));
  document.getElementById("boxes").replaceChildren(...groups);
}

// --- the picture ----------------------------------------------------------------------------------------------------

const preloaded = new Image();

function pictureOf(image) {
  return IMAGES.picture[image] && `images/${IMAGES.picture[image]}`;
}

function showPicture() {
  const [width, height] = imageSize();
  const address = pictureOf(steps[at].image);
  photo.setAttribute("width", width);
  photo.setAttribute("height", height);
  if (photo.getAttribute("href") !== address) {
    // Boxes never stand on the image before.
    photo.classList.add("waiting");
    photo.setAttribute("href", address);
  }
  document.getElementById("missing").hidden = Boolean(address);
  const next = steps[at + 1] && pictureOf(steps[at + 1].image);
  if (next) preloaded.src = next;
}

photo.addEventListener("load", () => {
  photo.classList.remove("waiting");
  document.getElementById("missing").hidden = true;
});
photo.addEventListener("error", () => {
  document.getElementById("missing").hidden = false;
});
