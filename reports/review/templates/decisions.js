// --- what the person decided: one record an image, never changed but replaced, so that undoing is putting back ------

// decisions: by place of the proposal {decision, at, category?, bbox?}; added: [{category, bbox, at}]; at in seconds.
const NOTHING = { decisions: {}, added: [], complete: false, looked: false };
const records = new Map();
const done = [];
const undone = [];
const MERGED_SECONDS = 1.5; // a key that is held moves a box many times, to be undone once

function recordOf(image) {
  return records.get(image) || NOTHING;
}

function decisionOf(place) {
  return recordOf(IMAGE_OF[place]).decisions[place];
}

function now() {
  return Math.floor(Date.now() / 1000);
}

function replace(image, record) {
  records.set(image, record);
  keep(image);
}

// One step of the person: changes are {image, before, after}. Steps with the same name in quick succession are one.
function commit(changes, name = "") {
  const last = done.at(-1);
  const at = Date.now() / 1000;
  if (name && last && last.name === name && at - last.at < MERGED_SECONDS) {
    last.changes[0].after = changes[0].after;
    last.at = at;
  } else {
    done.push({ changes, name, at });
  }
  undone.length = 0;
  for (const { image, after } of changes) replace(image, after);
  changed();
}

function change(image, edit, name = "") {
  const after = structuredClone(recordOf(image));
  edit(after);
  commit([{ image, before: recordOf(image), after }], name);
}

// Takes the last step back, or does it again; returns the image it was in, or null.
function step(from, to, side) {
  const last = from.pop();
  if (!last) return null;
  to.push({ ...last, name: "" });
  for (const one of last.changes) replace(one.image, one[side]);
  changed();
  return last.changes[0].image;
}

const undo = () => step(done, undone, "before");
const redo = () => step(undone, done, "after");

function looked(image) {
  if (!recordOf(image).looked) replace(image, { ...recordOf(image), looked: true });
}

// --- what can be decided --------------------------------------------------------------------------------------------

// A rejected box loses what was changed of it; undefined takes the decision back.
function decide(places, decision) {
  const open = places.filter((place) => decisionOf(place)?.decision !== decision);
  if (!open.length) return 0;
  change(IMAGE_OF[open[0]], (record) => {
    for (const place of open) {
      if (decision) record.decisions[place] = { decision, at: now() };
      else delete record.decisions[place];
    }
  });
  return open.length;
}

function sameBox(one, other) {
  return one.every((number, side) => Math.abs(number - other[side]) < 0.005);
}

// Whoever corrects a proposal wants it.
function correctProposal(place, { bbox, category }, name = "") {
  change(IMAGE_OF[place], (record) => {
    const entry = { ...record.decisions[place], decision: "accept", at: now() };
    if (bbox) entry.bbox = bbox;
    if (category !== undefined) entry.category = category;
    if (entry.bbox && sameBox(entry.bbox, boxAt(PROPOSED.bbox, place))) delete entry.bbox;
    if (entry.category === PROPOSED.category[place]) delete entry.category;
    record.decisions[place] = entry;
  }, name);
}

function correctAdded(image, index, corrections, name = "") {
  change(image, (record) => Object.assign(record.added[index], corrections, { at: now() }), name);
}

function addBox(image, category, bbox) {
  change(image, (record) => record.added.push({ category, bbox, at: now() }));
}

function deleteAdded(image, index) {
  change(image, (record) => record.added.splice(index, 1));
}

function setComplete(image, complete) {
  change(image, (record) => { record.complete = complete; });
}

// --- the decisions file ---------------------------------------------------------------------------------------------

function written(seconds) {
  return new Date(1000 * seconds).toISOString().replace(".000Z", "Z");
}

function rounded(bbox) {
  return bbox.map((number) => Math.round(100 * number) / 100);
}

function decisionEntry(place, { decision, at, category, bbox }) {
  const entry = { id: IDS[place], decision, at: written(at) };
  if (category !== undefined) entry.category_id = CATEGORIES.id[category];
  if (bbox) entry.bbox = rounded(bbox);
  return entry;
}

function addedEntry(image, { category, bbox, at }) {
  return { image_id: IMAGES.id[image], category_id: CATEGORIES.id[category], bbox: rounded(bbox), at: written(at) };
}

function exported() {
  const decisions = [];
  const added = [];
  const complete = [];
  for (const [image, record] of [...records].sort(([one], [other]) => one - other)) {
    for (const [place, entry] of Object.entries(record.decisions)) decisions.push(decisionEntry(Number(place), entry));
    for (const box of record.added) added.push(addedEntry(image, box));
    if (record.complete) complete.push(IMAGES.id[image]);
  }
  return {
    version: 1,
    proposals: DATA.proposals,
    proposals_sha256: DATA.sha256,
    reviewer: about.reviewer,
    minutes: Math.round(about.seconds / 6) / 10,
    saved: written(now()),
    decisions,
    added,
    complete,
  };
}

function known(map, id, what) {
  if (!map.has(id)) throw new Error(`it names ${what} ${id}, which is not on this page`);
  return map.get(id);
}

function seconds(text) {
  const at = Math.floor(Date.parse(text) / 1000);
  if (!Number.isFinite(at)) throw new Error("a time in it is none");
  return at;
}

function checkedBox(bbox) {
  const numbers = Array.isArray(bbox) && bbox.length === 4 && bbox.every(Number.isFinite);
  if (!numbers || bbox[2] <= 0 || bbox[3] <= 0) throw new Error("a box in it is none");
  return bbox;
}

function readDecision(entry) {
  if (!["accept", "reject"].includes(entry.decision)) throw new Error("a decision in it is neither accept nor reject");
  const read = { decision: entry.decision, at: seconds(entry.at) };
  if (read.decision === "reject") return read;
  if (entry.category_id !== undefined) read.category = known(CATEGORY_OF_ID, entry.category_id, "category");
  if (entry.bbox !== undefined) read.bbox = checkedBox(entry.bbox);
  return read;
}

function sameAdded(one, other) {
  return one.category === other.category && one.at === other.at && sameBox(rounded(one.bbox), rounded(other.bbox));
}

// Joins a file's decisions with those on the page, of two about one proposal the later one; one step to undo.
function load(text) {
  const file = JSON.parse(text);
  if (file?.version !== 1 || !Array.isArray(file.decisions)) throw new Error("it is no decisions file of this page");
  if (file.proposals_sha256 !== DATA.sha256) {
    throw new Error("it is about other proposals; load it on the page it was saved from");
  }
  const after = new Map();
  const recordFor = (image) => {
    if (!after.has(image)) after.set(image, structuredClone(recordOf(image)));
    return after.get(image);
  };
  for (const entry of file.decisions) {
    const place = known(PLACE_OF_ID, entry.id, "proposal");
    const [read, record] = [readDecision(entry), recordFor(IMAGE_OF[place])];
    if (!record.decisions[place] || record.decisions[place].at <= read.at) record.decisions[place] = read;
  }
  for (const entry of file.added || []) {
    const record = recordFor(known(IMAGE_OF_ID, entry.image_id, "image"));
    const category = known(CATEGORY_OF_ID, entry.category_id, "category");
    const box = { category, bbox: checkedBox(entry.bbox), at: seconds(entry.at) };
    if (!record.added.some((other) => sameAdded(box, other))) record.added.push(box);
  }
  for (const id of file.complete || []) recordFor(known(IMAGE_OF_ID, id, "image")).complete = true;
  for (const record of after.values()) record.looked = true;
  about.reviewer ||= String(file.reviewer || "");
  about.seconds = Math.max(about.seconds, 60 * (Number(file.minutes) || 0));
  const changes = [...after].map(([image, record]) => ({ image, before: recordOf(image), after: record }));
  const news = changes.filter((one) => JSON.stringify(one.before) !== JSON.stringify(one.after));
  if (news.length) commit(news);
  return file.decisions.length + (file.added || []).length;
}
