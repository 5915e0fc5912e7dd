"use strict";
// --- what the page was written with: columns; images, categories and proposals are named by their places in them ----

const DATA = JSON.parse(document.getElementById("data").textContent);
const IMAGES = DATA.images;
const CATEGORIES = DATA.categories;
const PROPOSED = DATA.proposed;
const STATES = [
  "The image has annotated boxes of this category; more may be missing.",
  "Boxes of this category may be missing in this image.",
  "Nobody looked for this category in this image.",
];

function sums(numbers) {
  let total = 0;
  return [0, ...numbers.map((number) => (total += number))];
}

// Places of the boxes of image i: from FIRST[i] up to FIRST[i + 1].
const FIRST_ANNOTATED = sums(IMAGES.annotated);
const FIRST_PROPOSED = sums(IMAGES.proposed);
const IDS = sums(PROPOSED.id).slice(1);
const PLACE_OF_ID = new Map(IDS.map((id, place) => [id, place]));
const IMAGE_OF_ID = new Map(IMAGES.id.map((id, place) => [id, place]));
const CATEGORY_OF_ID = new Map(CATEGORIES.id.map((id, place) => [id, place]));
const IMAGE_OF = new Int32Array(IDS.length);
IMAGES.proposed.forEach((_, image) => IMAGE_OF.fill(image, FIRST_PROPOSED[image], FIRST_PROPOSED[image + 1]));

function range(first, end) {
  return Array.from({ length: end - first }, (_, step) => first + step);
}

function proposalsOf(image) {
  return range(FIRST_PROPOSED[image], FIRST_PROPOSED[image + 1]);
}

function annotatedOf(image) {
  return range(FIRST_ANNOTATED[image], FIRST_ANNOTATED[image + 1]);
}

// x, y, width, height in pixels of the image file; columns count tenths.
function boxAt(column, place) {
  return column.slice(4 * place, 4 * place + 4).map((tenths) => tenths / 10);
}

function fdrOf(place) {
  const steps = PROPOSED.fdr[place];
  return steps === null ? null : steps / 10000;
}

function wrongInWords(fdr) {
  if (fdr === null) return "rate not known";
  if (fdr < 0.001) return "fewer than 1 in 1,000 wrong";
  if (fdr <= 0.4) return `about 1 in ${Math.round(1 / fdr).toLocaleString("en")} wrong`;
  return `about ${Math.round(10 * fdr)} in 10 wrong`;
}

function count(number, one, several = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
}
