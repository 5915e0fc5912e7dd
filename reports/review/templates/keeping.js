// --- decisions are kept in the browser, one entry an image, and come back when the page is opened again -------------

const KEY = `siod-review ${DATA.sha256}`;
const PAUSE_SECONDS = 60;
// Of the whole review: who, for how long, when it last changed and when it was last saved as a file.
const about = { reviewer: "", seconds: 0, changed: 0, saved: 0 };
// What was lost or may be, in sentences; by key, so that what can be kept again is no longer said.
const refused = new Map();
let active = Date.now();

// Places count from the image's first and times from its first decision: browsers keep about five million letters.
function packed(image, { decisions, added, complete, looked: seen }) {
  const entries = Object.entries(decisions);
  const start = entries.length ? entries[0][1].at : 0;
  const rows = entries.map(([place, { decision, at, category = null, bbox = null }]) => {
    const row = [place - FIRST_PROPOSED[image], decision === "accept" ? 1 : 0, at - start];
    return category === null && bbox === null ? row : [...row, category, bbox];
  });
  return JSON.stringify([Number(complete), Number(seen), start, rows, added]);
}

function unpacked(image, text) {
  const [complete, seen, start, rows, added] = JSON.parse(text);
  const decisions = {};
  for (const [place, accepted, at, category = null, bbox = null] of rows) {
    const entry = { decision: accepted ? "accept" : "reject", at: start + at };
    if (category !== null) entry.category = category;
    if (bbox !== null) entry.bbox = bbox;
    decisions[place + FIRST_PROPOSED[image]] = entry;
  }
  return { decisions, added, complete: Boolean(complete), looked: Boolean(seen) };
}

function put(key, text) {
  try {
    localStorage.setItem(key, text);
    refused.delete(key);
  } catch (error) {
    refused.set(key, error.name === "QuotaExceededError"
      ? "This browser's storage is full: the latest decisions are lost when the page is closed. Save them as a file."
      : "This browser keeps nothing for this page: decisions are lost when it is closed. Save them as a file.");
  }
}

function keep(image) {
  put(`${KEY} ${image}`, packed(image, recordOf(image)));
}

function keepAbout() {
  put(KEY, JSON.stringify(about));
}

function changed() {
  about.changed = Date.now();
  keepAbout();
}

function fetchKept() {
  try {
    Object.assign(about, JSON.parse(localStorage.getItem(KEY) || "{}"));
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(`${KEY} `));
    for (const key of keys) fetchImage(key, localStorage.getItem(key));
  } catch {
    // keepAbout finds out why, and the page says it.
  }
  keepAbout();
}

function fetchImage(key, text) {
  const image = Number(key.slice(KEY.length + 1));
  try {
    records.set(image, unpacked(image, text));
  } catch {
    const lost = `What this browser kept of ${IMAGES.name[image]} cannot be read.`;
    refused.set(`damaged ${key}`, `${lost} Load the file you saved last.`); // nothing takes this back
  }
}

function unsaved() {
  return about.changed > about.saved;
}

// --- time: pauses of more than a minute do not count ----------------------------------------------------------------

function countTime() {
  const pause = (Date.now() - active) / 1000;
  if (pause < PAUSE_SECONDS) about.seconds += pause;
  active = Date.now();
}

function startKeeping() {
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    window.addEventListener(kind, countTime, { capture: true, passive: true });
  }
  window.addEventListener("pagehide", keepAbout);
  window.addEventListener("beforeunload", (event) => {
    if (unsaved()) event.preventDefault();
  });
  // The same page in another tab.
  window.addEventListener("storage", ({ key, newValue }) => {
    if (!key?.startsWith(`${KEY} `) || newValue === null) return;
    fetchImage(key, newValue);
    show();
  });
}
