// --- in which order images come: steps of {image, category}; category is null where all boxes of an image are asked -

const UNKNOWN_FDR = 0.5;
const order = document.getElementById("order");
let steps = [];
let at = 0;

function decidable(step) {
  const places = proposalsOf(step.image);
  if (step.category !== null) return places.filter((place) => PROPOSED.category[place] === step.category);
  return order.value === "doubt" ? places.sort(byDoubt) : places;
}

// How likely a box is estimated to be wrong.
function wrong(place) {
  return fdrOf(place) ?? UNKNOWN_FDR;
}

function byDoubt(one, other) {
  return wrong(other) - wrong(one) || PROPOSED.score[one] - PROPOSED.score[other];
}

function openIn(step) {
  return decidable(step).filter((place) => !decisionOf(place));
}

// How many of the image's undecided boxes are estimated to be wrong.
function doubt(image) {
  const open = proposalsOf(image).filter((place) => !decisionOf(place));
  return open.reduce((total, place) => total + wrong(place), 0);
}

function byCategory(images) {
  const found = CATEGORIES.id.map(() => []);
  for (const image of images) {
    const present = new Set(proposalsOf(image).map((place) => PROPOSED.category[place]));
    for (const category of present) found[category].push({ image, category });
  }
  return found.flat();
}

function stepsIn(kind, all) {
  const images = range(0, IMAGES.id.length);
  const some = images.filter((image) => IMAGES.proposed[image]);
  const none = images.filter((image) => !IMAGES.proposed[image]);
  const plain = (image) => ({ image, category: null });
  if (kind === "file") return (all ? images : some).map(plain);
  const rest = all ? none.map(plain) : [];
  if (kind === "category") return [...byCategory(some), ...rest];
  const doubts = new Map(some.map((image) => [image, doubt(image)]));
  some.sort((one, other) => doubts.get(other) - doubts.get(one));
  return [...some.map(plain), ...rest];
}

function nextOpen(from) {
  const found = range(1, steps.length + 1).map((more) => (from + more) % steps.length);
  return found.find((place) => openIn(steps[place]).length) ?? -1;
}

// --- progress -------------------------------------------------------------------------------------------------------

// Records are replaced, never changed, so each is counted once.
const counted = new WeakMap();

function countsOf(record) {
  if (!counted.has(record)) {
    const entries = Object.values(record.decisions);
    counted.set(record, [entries.length, entries.filter((entry) => entry.decision === "accept").length]);
  }
  return counted.get(record);
}

function progress() {
  const told = { decided: 0, accepted: 0, added: 0, looked: 0, complete: 0 };
  const listed = new Set(steps.map((step) => step.image));
  for (const [image, record] of records) {
    const [decided, accepted] = countsOf(record);
    told.decided += decided;
    told.accepted += accepted;
    told.added += record.added.length;
    told.looked += Number(record.looked && listed.has(image));
    told.complete += Number(record.complete);
  }
  return { ...told, all: IDS.length, images: listed.size, minutes: about.seconds / 60 };
}

function progressInWords({ decided, accepted, added, looked: seen, complete, all, images, minutes }) {
  const words = [
    `${decided.toLocaleString("en")} of ${all.toLocaleString("en")} decided`,
    `${accepted.toLocaleString("en")} accepted`,
    `${seen.toLocaleString("en")} of ${count(images, "image")} looked at`,
    `${minutes.toFixed(1)} min`,
  ];
  if (added) words.splice(2, 0, `${added.toLocaleString("en")} added`);
  if (complete) words.push(`${complete.toLocaleString("en")} complete`);
  if (decided && minutes >= 0.2) {
    const rate = decided / minutes;
    words.push(`${Math.round(rate)} boxes/min`);
    if (decided < all) words.push(`about ${count(Math.max(1, Math.round((all - decided) / rate)), "minute")} left`);
  }
  return words;
}
