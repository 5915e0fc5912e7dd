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
  const added = recordOf(image).added.map((box, index) => ({ key: `a${index}`, index, status: "added", ...box }));
  return [...proposed, ...added];
}

// What is only looked at: annotated boxes, and proposals of other categories where one category is asked.
function context() {
  const { image, category } = steps[at];
  const annotated = annotatedOf(image).map((place) => ({
    key: "",
    status: "annotated",
    category: DATA.annotated.category[place],
    bbox: boxAt(DATA.annotated.bbox, place),
  }));
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
  const across = x >= frame.x && x + width <= frame.x + frame.width;
  const down = y >= frame.y && y + height <= frame.y + frame.height;
  if (!across || !down) lookAt(x + width / 2, y + height / 2);
}

// --- drawing --------------------------------------------------------------------------------------------------------

function captionOf({ status, category, score }) {
  const mark = MARKS[status] && `${MARKS[status]} `;
  return `${mark}${CATEGORIES.name[category]}${score === undefined ? "" : ` ${Math.round(100 * score)}`}`;
}

function isChosen(item) {
  return item.key !== "" && item.key === shown.chosen;
}

function labelled(item) {
  if (isChosen(item)) return true;
  return shown.labels === "all" || (shown.labels === "proposals" && item.status !== "annotated" && !item.faint);
}

function drawBox(item) {
  const box = shown.preview && shown.preview.key === item.key ? shown.preview.bbox : item.bbox;
  const [x, y, width, height] = box;
  const kinds = ["box", item.status, isChosen(item) && "chosen", item.faint && "faint"];
  const group = element("g", { class: kinds.filter(Boolean).join(" ") });
  for (const line of ["under", "line"]) group.append(element("rect", { x, y, width, height, class: line }));
  if (item.status === "reject") {
    const cross = `M${x} ${y}l${width} ${height}m0 ${-height}l${-width} ${height}`;
    group.append(element("path", { d: cross, class: "line" }));
  }
  if (labelled(item)) group.append(caption(item, box));
  if (isChosen(item)) group.append(...handles(box));
  return group;
}

// Above the box, or below where there is no room.
function caption(item, [x, y, , height]) {
  const letter = LETTER_PX / scale();
  const above = y - 1.35 * letter > seen().y;
  const line = above ? y - 0.35 * letter : y + height + 1.05 * letter;
  return element("text", { x, y: line, "font-size": letter }, captionOf(item));
}

function handles([x, y, width, height]) {
  const side = HANDLE_PX / scale();
  // Of a small box the edges' handles would cover the corners'.
  const edges = Math.min(width, height) > 3.5 * side ? ["n", "e", "s", "w"] : [];
  return [...edges, "nw", "ne", "se", "sw"].map((edge) => {
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
  const order = (item) => (isChosen(item) ? DRAWN_FIRST.length : DRAWN_FIRST.indexOf(item.status));
  const groups = all.sort((one, other) => order(one) - order(other)).map(drawBox);
  const { preview } = shown;
  if (preview?.key === "new") groups.push(drawBox({ ...preview, status: "added", category: newCategory() }));
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
