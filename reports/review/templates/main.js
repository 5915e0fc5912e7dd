// --- what keys and buttons do ---------------------------------------------------------------------------------------

const everyImage = document.getElementById("every");
const reviewer = document.getElementById("reviewer");

function goTo(place, chosen = null) {
  if (place < 0) return say("This is the first image.");
  if (place >= steps.length) return say("This is the last image.");
  at = place;
  stopDrag();
  looked(steps[at].image);
  seeAll();
  shown.chosen = chosen ?? (items().find((item) => item.status === "open") ?? items()[0])?.key ?? null;
  return show();
}

function arrange({ stay = false } = {}) {
  const { image } = steps[at] ?? {};
  steps = stepsIn(order.value, everyImage.checked);
  document.getElementById("why").textContent = order.selectedOptions[0].dataset.why;
  const here = stay ? steps.findIndex((one) => one.image === image) : -1;
  goTo(here >= 0 ? here : Math.max(nextOpen(-1), 0));
}

function selectNext(by) {
  const all = items();
  if (!all.length) return say("No box is proposed here.");
  const place = all.findIndex((item) => item.key === shown.chosen);
  return choose(all[place < 0 ? (by > 0 ? 0 : all.length - 1) : (place + by + all.length) % all.length]);
}

function nextUndecided() {
  const all = items();
  const place = all.findIndex((item) => item.key === shown.chosen);
  return [...all.slice(place + 1), ...all.slice(0, place + 1)].find((item) => item.status === "open") ?? null;
}

function decideChosen(decision) {
  const item = chosenItem();
  if (!item) return say("Choose a box first: J, or click on one.");
  if (item.place === undefined) return decision === "reject" ? remove(item) : selectNext(1);
  decide([item.place], decision);
  const next = nextUndecided();
  say(next ? "" : "All decided. Enter: every object has its box. N: next image.");
  return choose(next ?? item);
}

function decideLeft(decision) {
  const number = decide(openIn(steps[at]), decision);
  say(`${count(number, "box", "boxes")} ${decision}ed.`);
  show();
}

// Takes an added box away, or the decision about a proposal.
function remove(item) {
  if (!item) return;
  if (item.place === undefined) {
    deleteAdded(steps[at].image, item.index);
    shown.chosen = null;
  } else {
    decide([item.place], undefined);
  }
  show();
}

function nudge(across, down, resize) {
  const item = chosenItem();
  if (!item) return;
  const bbox = resize ? resized(item.bbox, "es", across, down) : moved(item.bbox, across, down);
  correct(item, { bbox }, `nudge ${steps[at].image} ${item.key}`);
  show();
}

function toggleComplete(goOn) {
  const { image } = steps[at];
  const complete = !recordOf(image).complete;
  const left = openIn({ image, category: null }).length;
  setComplete(image, complete);
  const open = left ? ` with ${count(left, "undecided box", "undecided boxes")}` : "";
  say(complete ? `Marked as complete${open}.` : "No longer marked as complete.");
  if (complete && goOn && at < steps.length - 1) goTo(at + 1);
  else show();
}

// Undoing shows where something was undone.
function turnBack(action, nothing) {
  const image = action();
  if (image === null) return say(nothing);
  const place = steps[at].image === image ? at : steps.findIndex((one) => one.image === image);
  return place === at || place < 0 ? show() : goTo(place);
}

function switchDrawing() {
  setDrawing(!drawing);
  say(drawing ? "Drag from corner to corner of the object; Esc leaves it." : "");
}

function switchLabels() {
  const kinds = ["proposals", "all", "none"];
  shown.labels = kinds[(kinds.indexOf(shown.labels) + 1) % kinds.length];
  say(`Names stand at ${{ proposals: "proposals", all: "all boxes", none: "the chosen box only" }[shown.labels]}.`);
  drawStage();
}

function hideBoxes() {
  shown.boxes = !shown.boxes;
  document.getElementById("hide").setAttribute("aria-pressed", String(!shown.boxes));
  say(shown.boxes ? "" : "Boxes are hidden. H shows them.");
  drawStage();
}

function zoomToChosen() {
  const item = chosenItem();
  if (view.zoom > 1 || !item) seeAll();
  else zoomTo(item.bbox);
  drawStage();
}

function zoomKey(factor) {
  const item = chosenItem();
  const [x, y, width, height] = item ? item.bbox : [view.x, view.y, 0, 0];
  zoomBy(factor, [x + width / 2, y + height / 2]);
  drawStage();
}

function leave() {
  if (!stopDrag()) shown.chosen = null;
  say("");
  show();
}

// --- the file -------------------------------------------------------------------------------------------------------

function save() {
  const file = exported();
  const link = tag("a", { download: "decisions.json" });
  link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  about.saved = Date.now();
  keepAbout();
  const words = [
    count(file.decisions.length, "decision"),
    count(file.added.length, "added box", "added boxes"),
    count(file.complete.length, "complete image"),
  ];
  say(`Saved decisions.json (${words.join(", ")}). Your browser's downloads hold it.`);
  drawProgress();
}

async function loadFile(file) {
  const text = await file.text();
  try {
    say(`Loaded ${count(load(text), "decision")} from ${file.name}. Undo takes them back.`);
  } catch (error) {
    say(`${file.name} was not loaded: ${error instanceof SyntaxError ? "it is no JSON" : error.message}.`);
  }
  reviewer.value = about.reviewer;
  show();
}

// --- keys -----------------------------------------------------------------------------------------------------------

const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
const PLAIN = {
  a: () => decideChosen("accept"),
  r: () => decideChosen("reject"),
  x: () => decideChosen("reject"),
  delete: () => remove(chosenItem()),
  backspace: () => remove(chosenItem()),
  j: () => selectNext(1),
  k: () => selectNext(-1),
  arrowdown: () => selectNext(1),
  arrowright: () => selectNext(1),
  arrowup: () => selectNext(-1),
  arrowleft: () => selectNext(-1),
  n: () => goTo(at + 1),
  pagedown: () => goTo(at + 1),
  p: () => goTo(at - 1),
  pageup: () => goTo(at - 1),
  home: () => goTo(0),
  end: () => goTo(steps.length - 1),
  c: chooseCategory,
  d: switchDrawing,
  u: () => turnBack(undo, "Nothing to undo."),
  y: () => turnBack(redo, "Nothing to redo."),
  enter: () => toggleComplete(true),
  e: () => toggleComplete(false),
  "+": () => zoomKey(1.5),
  "=": () => zoomKey(1.5),
  "-": () => zoomKey(1 / 1.5),
  0: () => { seeAll(); drawStage(); },
  z: zoomToChosen,
  l: switchLabels,
  h: hideBoxes,
  "?": () => document.getElementById("keys").showModal(),
  escape: leave,
};
const SHIFTED = {
  a: () => decideLeft("accept"),
  r: () => decideLeft("reject"),
  x: () => decideLeft("reject"),
  n: () => (nextOpen(at) < 0 ? say("Every box is decided.") : goTo(nextOpen(at))),
  u: PLAIN.y,
  "+": PLAIN["+"],
  "?": PLAIN["?"],
};
const CONTROLLED = { z: PLAIN.u, y: PLAIN.y, s: save };

function actionOf(event) {
  const key = event.key.toLowerCase();
  const control = event.ctrlKey || event.metaKey;
  if (event.shiftKey && key in ARROWS) return () => nudge(...ARROWS[key], control);
  if (control) return event.shiftKey && key === "z" ? PLAIN.y : CONTROLLED[key];
  if (event.altKey) return undefined;
  return event.shiftKey ? SHIFTED[key] ?? (/^[a-z]/.test(key) ? undefined : PLAIN[key]) : PLAIN[key];
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  if (event.target.closest("input, select") && event.key !== "Escape") return;
  // A focused button is pressed with these.
  if (event.target.closest("button, summary") && (event.key === "Enter" || event.key === " ")) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  if (event.key === "Escape") document.activeElement.blur();
  action();
});

// A button pressed with the mouse gives the keys back.
document.addEventListener("click", (event) => {
  if (event.detail > 0 && event.target.closest("main button, header button")) stage.focus({ preventScroll: true });
});

const ACTIONS = {
  back: PLAIN.p,
  next: PLAIN.n,
  "accept-all": SHIFTED.a,
  "reject-all": SHIFTED.r,
  complete: PLAIN.e,
  undo: PLAIN.u,
  redo: PLAIN.y,
  draw: PLAIN.d,
  category: PLAIN.c,
  labels: PLAIN.l,
  hide: PLAIN.h,
  closer: PLAIN["+"],
  farther: PLAIN["-"],
  whole: PLAIN[0],
  save,
  help: PLAIN["?"],
  load: () => document.getElementById("file").click(),
};
for (const [id, action] of Object.entries(ACTIONS)) document.getElementById(id).addEventListener("click", action);
document.getElementById("place").addEventListener("change", ({ target }) => {
  goTo(Math.min(Math.max(Math.round(Number(target.value)) || 1, 1), steps.length) - 1);
});
document.getElementById("file").addEventListener("change", ({ target }) => {
  if (target.files.length) loadFile(target.files[0]);
  target.value = "";
});
order.addEventListener("change", () => arrange());
everyImage.addEventListener("change", () => arrange({ stay: true }));
for (const control of [order, everyImage]) control.addEventListener("change", () => control.blur());
reviewer.addEventListener("input", () => {
  about.reviewer = reviewer.value;
  changed();
});

fetchKept();
reviewer.value = about.reviewer;
startKeeping();
everyImage.checked = everyImage.disabled = !IDS.length;
if (IMAGES.id.length) arrange();
say("A accepts, R rejects, Shift-A accepts what is left; N: next image; ?: all keys.");
