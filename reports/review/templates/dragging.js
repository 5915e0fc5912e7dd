// --- the pointer: click to decide, drag to correct, draw, or move the view ------------------------------------------

const CLICK_PX = 4;
const SMALLEST_PX = 1;
let drawing = false;
let drag = null;

function clipped([x1, y1, x2, y2]) {
  const [width, height] = imageSize();
  const between = (number, end) => Math.min(Math.max(number, 0), end);
  const [left, right] = [Math.min(x1, x2), Math.max(x1, x2)].map((number) => between(number, width));
  const [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)].map((number) => between(number, height));
  const [wide, high] = [Math.max(right - left, SMALLEST_PX), Math.max(bottom - top, SMALLEST_PX)];
  return [Math.min(left, width - wide), Math.min(top, height - high), wide, high];
}

function moved([x, y, width, height], across, down) {
  const [imageWidth, imageHeight] = imageSize();
  const left = Math.min(Math.max(x + across, 0), Math.max(imageWidth - width, 0));
  const top = Math.min(Math.max(y + down, 0), Math.max(imageHeight - height, 0));
  return clipped([left, top, left + width, top + height]);
}

function resized([x, y, width, height], edges, across, down) {
  const corners = [x, y, x + width, y + height];
  if (edges.includes("w")) corners[0] += across;
  if (edges.includes("n")) corners[1] += down;
  if (edges.includes("e")) corners[2] += across;
  if (edges.includes("s")) corners[3] += down;
  return clipped(corners);
}

function contains([x, y, width, height], [across, down]) {
  return across >= x && down >= y && across <= x + width && down <= y + height;
}

// Of boxes one upon the other the smallest is meant.
function itemAt(point) {
  if (!shown.boxes) return null;
  const found = items().filter((item) => contains(item.bbox, point));
  return found.sort((one, other) => one.bbox[2] * one.bbox[3] - other.bbox[2] * other.bbox[3])[0] ?? null;
}

function correct(item, corrections, name) {
  if (item.place !== undefined) correctProposal(item.place, corrections, name);
  else correctAdded(steps[at].image, item.index, corrections, name);
}

function setDrawing(on) {
  drawing = on;
  stage.classList.toggle("drawing", on);
  document.getElementById("draw").setAttribute("aria-pressed", String(on));
}

// --- one drag -------------------------------------------------------------------------------------------------------

function startOf(event) {
  const point = toImage(event);
  const start = { point, clientX: event.clientX, clientY: event.clientY, centre: [view.x, view.y], far: false };
  const item = chosenItem();
  const edges = event.target.dataset?.edges;
  if (event.button === 1) return { ...start, kind: "pan" };
  if (drawing) return { ...start, kind: "draw" };
  if (item && edges) return { ...start, kind: "resize", item, edges };
  if (item && contains(item.bbox, point)) return { ...start, kind: "move", item };
  return { ...start, kind: "pan" };
}

function previewOf(event) {
  if (drag.kind === "draw") return { key: "new", bbox: clipped([...drag.point, ...toImage(event)]) };
  const [across, down] = toImage(event).map((number, axis) => number - drag.point[axis]);
  const { item, edges } = drag;
  return { key: item.key, bbox: edges ? resized(item.bbox, edges, across, down) : moved(item.bbox, across, down) };
}

function onMove(event) {
  if (!drag) return;
  const [across, down] = [event.clientX - drag.clientX, event.clientY - drag.clientY];
  drag.far ||= Math.hypot(across, down) >= CLICK_PX;
  if (!drag.far) return;
  if (drag.kind !== "pan") shown.preview = previewOf(event);
  else if (view.zoom > 1) lookAt(drag.centre[0] - across / scale(), drag.centre[1] - down / scale());
  drawStage();
}

function onUp(event) {
  if (!drag) return;
  const ended = drag;
  const { preview } = shown;
  drag = null;
  shown.preview = null;
  if (!ended.far) return ended.kind === "draw" || event.button === 1 ? show() : click(ended.point);
  if (ended.kind === "draw") return finishDrawing(preview.bbox);
  if (ended.kind !== "pan") correct(ended.item, { bbox: preview.bbox });
  return show();
}

function finishDrawing(bbox) {
  const { image } = steps[at];
  addBox(image, newCategory(), bbox);
  setDrawing(false);
  say("");
  shown.chosen = `a${recordOf(image).added.length - 1}`;
  show();
  if (CATEGORIES.id.length > 1) chooseCategory();
}

// The first click on a decided box only chooses it, so that looking at it changes nothing.
function click(point) {
  const item = itemAt(point);
  if (!item) return show();
  const again = shown.chosen === item.key;
  shown.chosen = item.key;
  if (item.status === "open" || (again && item.status === "reject")) decide([item.place], "accept");
  else if (again && item.status === "accept") decide([item.place], "reject");
  return show();
}

function stopDrag() {
  const was = drag || drawing;
  drag = null;
  shown.preview = null;
  setDrawing(false);
  return Boolean(was);
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button > 1 || event.target.closest("button")) return;
  drag = startOf(event);
  stage.focus({ preventScroll: true });
  event.preventDefault();
});
window.addEventListener("pointermove", onMove);
window.addEventListener("pointerup", onUp);
window.addEventListener("pointercancel", () => {
  stopDrag();
  show();
});
stage.addEventListener("contextmenu", (event) => {
  event.preventDefault();
  const item = itemAt(toImage(event));
  if (!item) return;
  shown.chosen = item.key;
  if (item.place !== undefined) decide([item.place], "reject");
  show();
});
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-0.0015 * event.deltaY * (event.deltaMode === 1 ? 16 : 1)), toImage(event));
  drawStage();
}, { passive: false });
new ResizeObserver(() => steps.length && drawStage()).observe(stage);
