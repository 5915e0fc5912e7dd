// --- what stands beside the picture: the list, the progress, the menu of categories ---------------------------------

const list = document.getElementById("list");
const said = document.getElementById("said");
const SPOKEN = { open: "undecided", accept: "accepted", reject: "rejected", added: "added" };

function say(sentence) {
  said.textContent = sentence;
}

function tag(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function button(attributes, content, action) {
  const made = tag("button", { type: "button", ...attributes }, ...content);
  made.addEventListener("click", action);
  return made;
}

function named(label) {
  return { title: label, "aria-label": label };
}

function choose(item) {
  shown.chosen = item ? item.key : null;
  follow(item);
  show();
}

// --- the list -------------------------------------------------------------------------------------------------------

function doubtOf(item) {
  if (item.place === undefined) return "added by you";
  const words = [wrongInWords(fdrOf(item.place))];
  const proposed = PROPOSED.category[item.place];
  if (item.category !== proposed) words.push(`was ${CATEGORIES.name[proposed]}`);
  if (decisionOf(item.place)?.bbox) words.push("moved");
  return words.join(", ");
}

function explained(item) {
  if (item.place === undefined) return "";
  const reason = fdrOf(item.place) === null ? CATEGORIES.reason[PROPOSED.category[item.place]] : "";
  const unknown = reason ? `Its rate is not known: ${reason}.` : "";
  return `${STATES[PROPOSED.state[item.place]]} ${unknown}`.trim();
}

function rowOf(item) {
  const chosen = item.key === shown.chosen;
  const words = [
    tag("span", { class: "mark", "aria-hidden": "true" }, MARKS[item.status]),
    tag("span", { class: "name" }, CATEGORIES.name[item.category]),
    tag("span", { class: "score" }, item.score === undefined ? "" : item.score.toFixed(2)),
    tag("small", {}, doubtOf(item)),
    tag("span", { class: "unseen" }, ` ${SPOKEN[item.status]}`),
  ];
  const attributes = { class: "pick", "aria-current": String(chosen), title: explained(item) };
  const row = tag("li", { class: `row ${item.status}${chosen ? " chosen" : ""}`, "data-key": item.key });
  row.append(button(attributes, words, () => choose(item)), ...rowButtons(item));
  if (chosen && explained(item)) row.append(tag("p", {}, explained(item)));
  return row;
}

function rowButtons(item) {
  const name = CATEGORIES.name[item.category];
  if (item.place === undefined) {
    return [button({ class: "delete", ...named(`Delete ${name}`) }, ["\u2715"], () => remove(item))];
  }
  return ["accept", "reject"].map((decision) => {
    const pressed = item.status === decision;
    const label = `${decision === "accept" ? "Accept" : "Reject"} ${name}`;
    return button({ class: decision, "aria-pressed": String(pressed), ...named(label) }, [MARKS[decision]], () => {
      shown.chosen = item.key;
      decide([item.place], pressed ? undefined : decision);
      show();
    });
  });
}

function drawList() {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const [key, kind] = [focused?.closest("li").dataset.key, focused?.className];
  const rows = items().map(rowOf);
  list.replaceChildren(...rows);
  // The list is made anew; whoever stepped into it with Tab stays where they were.
  if (focused) rows.find((row) => row.dataset.key === key)?.querySelector(`button.${kind}`)?.focus();
  reveal(rows.find((row) => row.dataset.key === shown.chosen));
  document.getElementById("nothing").hidden = rows.length > 0;
}

// Within the list alone: on a small screen scrollIntoView would move the picture away.
function reveal(row) {
  if (!row) return;
  const [top, end] = [row.offsetTop - list.offsetTop, row.offsetTop - list.offsetTop + row.offsetHeight];
  if (top < list.scrollTop) list.scrollTop = top;
  else if (end > list.scrollTop + list.clientHeight) list.scrollTop = end - list.clientHeight;
}

function annotatedInWords(image) {
  const counts = new Map();
  for (const place of annotatedOf(image)) {
    const name = CATEGORIES.name[DATA.annotated.category[place]];
    counts.set(name, (counts.get(name) || 0) + 1);
  }
  const names = [...counts].sort(([, one], [, other]) => other - one).map(([name, number]) => `${number} ${name}`);
  return names.length ? `Annotated: ${names.join(", ")}` : "Nothing is annotated here";
}

// --- where we are ---------------------------------------------------------------------------------------------------

function drawHead() {
  const { image, category } = steps[at];
  document.getElementById("name").textContent = document.getElementById("name").title = IMAGES.name[image];
  document.getElementById("place").value = at + 1;
  document.getElementById("places").textContent = `of ${steps.length.toLocaleString("en")}`;
  document.getElementById("asked").textContent = category === null ? "" : `Only ${CATEGORIES.name[category]}`;
  document.getElementById("annotated").textContent = annotatedInWords(image);
  document.getElementById("back").disabled = at === 0;
  document.getElementById("next").disabled = at === steps.length - 1;
  document.getElementById("undo").disabled = !done.length;
  document.getElementById("redo").disabled = !undone.length;
  document.getElementById("complete").setAttribute("aria-pressed", String(recordOf(image).complete));
  const left = openIn(steps[at]).length;
  document.getElementById("accept-all").disabled = document.getElementById("reject-all").disabled = !left;
  document.getElementById("left").textContent = left ? `${count(left, "box", "boxes")} left` : "All decided";
}

function drawProgress() {
  const told = progress();
  const bar = document.getElementById("bar");
  bar.max = Math.max(told.all, 1);
  bar.value = told.decided;
  document.getElementById("progress").replaceChildren(...progressInWords(told).map((words) => tag("span", {}, words)));
  document.getElementById("save").classList.toggle("due", unsaved());
  const [sentence = ""] = refused.values();
  document.getElementById("notice").textContent = sentence;
  document.getElementById("notice").hidden = !sentence;
}

function show() {
  showPicture();
  drawStage();
  drawList();
  drawHead();
  drawProgress();
}

// --- the menu of categories -----------------------------------------------------------------------------------------

const menu = document.getElementById("menu");
const filter = document.getElementById("filter");
const names = document.getElementById("names");
let lastCategory = null;

function newCategory() {
  return steps[at].category ?? lastCategory ?? chosenItem()?.category ?? 0;
}

function fillMenu() {
  const wanted = filter.value.trim().toLowerCase();
  const current = chosenItem()?.category;
  const all = CATEGORIES.name.map((name, category) => ({ name, category }));
  const matching = all.filter(({ name }) => name.toLowerCase().includes(wanted));
  // A name that begins so comes before one that has it inside.
  const begins = ({ name }) => Number(name.toLowerCase().startsWith(wanted));
  matching.sort((one, other) => begins(other) - begins(one));
  names.replaceChildren(...matching.map(({ name, category }) => (
    tag("option", { value: category, ...(category === current ? { class: "current" } : {}) }, name))));
  const before = matching.findIndex(({ category }) => category === current);
  names.selectedIndex = wanted || before < 0 ? 0 : before;
}

function chooseCategory() {
  const item = chosenItem();
  if (!item) return say("Choose a box first: J, or click on one.");
  filter.value = "";
  menu.showModal();
  fillMenu();
  return filter.focus();
}

function takeCategory() {
  const item = chosenItem();
  const category = Number(names.value);
  menu.close();
  // Until the browser moves it, the focus stays in what is closed, and keys go there.
  stage.focus({ preventScroll: true });
  if (!item || names.value === "") return;
  lastCategory = item.place === undefined ? category : lastCategory;
  if (category !== item.category) correct(item, { category });
  show();
}

filter.addEventListener("input", fillMenu);
filter.addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  names.selectedIndex = Math.min(Math.max(names.selectedIndex + by, 0), names.length - 1);
});
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  takeCategory();
});
names.addEventListener("dblclick", takeCategory);
document.getElementById("take").addEventListener("click", takeCategory);
menu.addEventListener("click", (event) => {
  if (event.target === menu) menu.close();
});
