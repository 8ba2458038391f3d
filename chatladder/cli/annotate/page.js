"use strict";

const part = (id) => document.getElementById(id);
// The browser does not send it: it is in the address, and in the tab's storage in case somebody removes it there.
const token = location.hash.slice(1) || sessionStorage.getItem("token") || "";
sessionStorage.setItem("token", token);
window.addEventListener("hashchange", () => location.reload());

// Characters of a message to show until somebody asks for the rest, as in the terminal.
const MOST_CHARACTERS = 1500;
// Milliseconds in which nobody can have read a question: a second tap of the same finger is not meant for it.
const TOO_SOON = 250;
const PATIENCE = 20000;
const GONE = "The server does not answer. What it took is saved. If it ended, it must be started again: then try again, or open the address that it prints.";
const SPENT = "This address is no longer good. Open the one that chatladder printed last.";

let state = null, shownAt = 0, isWhole = false, sought = null, back = null;
let steps = Promise.resolve(), waiting = 0;

function piece(name, kind, text = "") {
  const element = document.createElement(name);
  element.className = kind;
  element.textContent = text;
  return element;
}

async function ask(path, body) {
  const request = {headers: {Authorization: "Bearer " + token}, signal: AbortSignal.timeout(PATIENCE)};
  if (body) {
    Object.assign(request, {method: "POST", body: JSON.stringify(body)});
    request.headers["Content-Type"] = "application/json";
  }
  let reply, said;
  try {
    reply = await fetch("v1/" + path, request);
    said = await reply.json();
  } catch {
    throw new Error(GONE);
  }
  if (reply.status === 401) throw new Error(SPENT);
  if (!reply.ok) throw new Error("The server says: " + said.detail);
  return said;
}

// Steps wait for earlier ones, and a failed one can be retried unchanged.
function take(step, then = () => {}) {
  waiting += 1;
  steps = steps.then(async () => {
    try {
      show(await step());
      then();
    } catch (error) {
      part("trouble").hidden = false;
      part("trouble").firstElementChild.textContent = error.message;
      part("retry").onclick = () => take(step, then);
    }
    waiting -= 1;
  });
}

const from = (path, more) => {
  let body;
  // A retry is about the same question.
  take(() => ask(path, body ??= {item_id: state.item_id, ...(typeof more === "function" ? more() : more)}));
};

function bubble(turn, before, isQuestion) {
  const row = piece("li", isQuestion ? "question" : "");
  if (turn.note) row.append(piece("p", "note", turn.note));
  if (isQuestion || turn.note || !before || before.who !== turn.who) {
    const who = piece("p", "who"), dot = piece("i", "");
    dot.style.background = turn.colour;
    who.append(dot, piece("b", "", turn.who), piece("span", "", turn.time));
    row.append(who);
  }
  const left = isWhole ? 0 : turn.text.length - MOST_CHARACTERS;
  const text = piece("span", "text", left > 0 ? turn.text.slice(0, MOST_CHARACTERS) + "…" : turn.text);
  row.append(text);
  if (left > 0) {
    const more = piece("button", "more", left.toLocaleString("en") + " more characters");
    more.addEventListener("click", ACTIONS.expand);
    row.append(more);
  }
  return row;
}

function showTurns() {
  const {turns} = state;
  part("turns").replaceChildren(...turns.map((turn, place) => bubble(turn, turns[place - 1], place === turns.length - 1)));
  toQuestion();
}

function toQuestion() {
  const chat = part("chat"), question = part("turns").lastElementChild;
  chat.scrollTop = chat.scrollHeight;
  if (question && question.offsetHeight > chat.clientHeight) question.scrollIntoView();
}

function show(next) {
  const isAnother = !state || state.item_id !== next.item_id;
  if (!state) setUp(next);
  state = next;
  if (isAnother) {
    shownAt = performance.now();
    isWhole = false;
    showTurns();
  }
  part("trouble").hidden = true;
  close();
  document.title = next.place + " of " + next.total + " · " + next.title;
  part("place").textContent = next.place.toLocaleString("en") + " of " + next.total.toLocaleString("en");
  part("title").textContent = next.title;
  part("pace").textContent = [next.done.toLocaleString("en") + " done", next.pace].filter(Boolean).join(" · ");
  part("bar").max = next.total;
  part("bar").value = next.done;
  part("remark").textContent = next.remark || (next.is_written ? "Written out: " + next.line : "");
  part("rewrite").hidden = !next.write_out;
  for (const button of part("labels").children) button.setAttribute("aria-pressed", button.dataset.action === next.answer);
  part("said").hidden = !next.said.length;
  part("said").textContent = next.said.map(({who, words}) => who + ": " + words).join(" · ");
}

// Called once: keys and labels do not change after the start.
function setUp({ask: asked, labels, shown, guidelines}) {
  for (const [language, text] of Object.entries(asked)) {
    const line = piece("span", "", text);
    line.lang = language;
    document.querySelector("h1").append(line);
  }
  for (const {name, words, colour} of labels) {
    const button = piece("button", "", words);
    button.dataset.action = name;
    button.style.background = colour;
    part("labels").append(button);
    ACTIONS[name] = () => answer(name);
  }
  for (const button of document.querySelectorAll("[data-action]")) {
    if (button.id !== "place") button.append(piece("kbd", "", shown[button.dataset.action]));
    button.addEventListener("click", (event) => {
      // After a tap the page has the keys again: Space must not press the button once more.
      if (event.detail) toChat();
      ACTIONS[button.dataset.action]();
    });
  }
  part("guidelines").firstElementChild.append(...paragraphs(guidelines).map(written));
}

// The Markdown of guidelines: headings, items, paragraphs over several lines, bold words; all else is literal.
function paragraphs(text) {
  let isOpen = false;
  const found = [];
  for (const line of text.split("\n").map((each) => each.trim())) {
    const isPlain = line && !/^(#|- )/.test(line);
    if (isPlain && isOpen) found[found.length - 1] += " " + line;
    else if (line) found.push(line);
    isOpen = line && !/^#|\\$/.test(line);
  }
  return found;
}

function written(line) {
  const [, mark, text] = /^(#+ |- )?(.*?)\\?$/.exec(line);
  const element = piece(mark && mark[0] === "#" ? "h2" : "p", mark === "- " ? "item" : "");
  if (mark === "- ") element.append("• ");
  text.split("**").forEach((words, place) => element.append(place % 2 ? piece("b", "", words) : words));
  return element;
}

function answer(label) {
  if (!waiting && performance.now() - shownAt >= TOO_SOON) from("answer", {label});
}

function close() {
  if (part("writing").hidden) return;
  part("writing").hidden = true;
  part("labels").hidden = part("tools").hidden = false;
  toChat();
}

function toChat() {
  part("chat").focus({preventScroll: true});
}

function write() {
  if (!state.write_out) {
    part("remark").textContent = state.not_written_out;
    return;
  }
  back = state.item_id;
  const to = state.write_out;
  take(() => ask("go", {item_id: back, to}), () => {
    part("line").value = state.line;
    part("writing").hidden = false;
    part("labels").hidden = part("tools").hidden = part("rewrite").hidden = true;
    part("remark").textContent = "";
    part("line").focus();
    showTurns();
  });
}

// Returns to the question from which the rewrite was begun.
function leave(text) {
  const item_id = state.item_id, to = back;
  take(async () => {
    const {remark} = text === null ? {remark: "Unchanged."} : await ask("write", {item_id, text});
    return {...await ask("go", {item_id, to}), remark};
  });
}

function find(words, then) {
  part("find").querySelector("label").textContent = words;
  part("wanted").value = "";
  part("find").returnValue = "";
  part("find").onclose = () => {
    const wanted = part("wanted").value;
    if (part("find").returnValue && wanted.trim()) then(wanted);
  };
  part("find").showModal();
}

const ACTIONS = {
  rewrite: write,
  undo: () => from("undo", () => ({standing: state.standing})),
  skip: () => from("go", {skip: true}),
  previous: () => from("go", {by: -1}),
  next: () => from("go", {by: 1}),
  jump: () => find("Go to: number, or beginning of an id", (to) => from("go", {to})),
  search: () => find("Search the questions", (search) => from("go", {search: sought = search})),
  again: () => sought ? from("go", {search: sought, again: true}) : part("remark").textContent = "Nothing was searched for yet.",
  expand: () => { isWhole = true; showTurns(); },
  definition: () => part("guidelines").open ? part("guidelines").close() : part("guidelines").showModal(),
  quit: () => {},
};

document.addEventListener("keydown", (event) => {
  if (!state || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.matches("textarea, input") || !part("writing").hidden) return;
  const action = state.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const isGuide = action === "definition" && part("guidelines").open;
  if (!action || (document.querySelector("dialog[open]") && !isGuide)) return;
  event.preventDefault();
  // A key held down answers once.
  if (!event.repeat || action === "previous" || action === "next") ACTIONS[action]();
});
part("line").addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Enter") { event.preventDefault(); leave(part("line").value); }
  if (event.key === "Escape") leave(null);
});
part("writing").addEventListener("submit", (event) => { event.preventDefault(); leave(part("line").value); });
part("leave").addEventListener("click", () => leave(null));

// The question stays visible, whatever opens or closes below it.
new ResizeObserver(toQuestion).observe(part("chat"));
take(() => ask("state"), toChat);
