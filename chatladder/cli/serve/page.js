"use strict";

const part = (id) => document.getElementById(id);
// A name, a colon of either width, and a text.
const LINE = /^\s*([^:：]{1,64}?)\s*[:：]\s*(.*)$/;

function turnsOf(text) {
  const turns = [];
  for (const line of text.split(/\r?\n/)) {
    const found = LINE.exec(line);
    if (found && found[1] && !found[2].startsWith("//")) turns.push({sender: found[1], text: found[2]});
    else if (turns.length && line.trim()) turns[turns.length - 1].text += "\n" + line;
  }
  return turns;
}

function piece(name, kind, text) {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

// The task: the question, the items that it is asked about, and the words for yes and no.
let task = {ask: "", items: "messages", labels: ["yes", "no"]};

function shown(turn, judged) {
  const row = piece("li", "", "");
  row.append(piece("span", "sender", turn.sender + ": "), piece("span", "", turn.text));
  if (judged.is_question) {
    const {needed, p_needed, rewritten} = judged.answer;
    row.className = needed ? "question needed" : "question";
    row.append(piece("span", "verdict", task.labels[needed ? 0 : 1]));
    row.append(piece("span", "share", "Probability of \u201c" + task.labels[0] + "\u201d: " + Math.round(100 * p_needed) + "\u00a0%"));
    if (rewritten !== null) row.append(piece("span", "rewritten", "Written out: " + rewritten));
  }
  return row;
}

async function judge() {
  const turns = turnsOf(part("chat").value);
  part("turns").replaceChildren();
  if (!turns.length) return "Paste at least one line such as: li: does it run on Windows?";
  const headers = {"Content-Type": "application/json"};
  if (part("token").value) headers.Authorization = "Bearer " + part("token").value;
  const reply = await fetch("v1/chats", {method: "POST", headers, body: JSON.stringify({turns})});
  const said = await reply.json();
  if (reply.status === 401) {
    part("door").hidden = false;
    part("token").focus();
    return "This server wants its token.";
  }
  if (!reply.ok) return "The server says: " + said.detail;
  part("turns").replaceChildren(...turns.map((turn, place) => shown(turn, said[place])));
  const questions = said.filter((each) => each.is_question);
  const needed = questions.filter((each) => each.answer.needed).length;
  if (!questions.length) return "No " + task.items + " among these messages.";
  return "\u201c" + task.labels[0] + "\u201d: " + needed + " of " + questions.length + " " + task.items + ".";
}

async function describe() {
  task = await (await fetch("health")).json();
  document.title = part("ask").textContent = task.ask;
  part("items").textContent = task.items;
}

const GONE = "The server does not answer. Is it still running?";
describe().catch(() => { part("status").textContent = GONE; });
part("judge").addEventListener("click", async () => {
  part("judge").disabled = true;
  part("status").textContent = "The model reads…";
  try {
    part("status").textContent = await judge();
  } catch (error) {
    part("status").textContent = GONE;
  }
  part("judge").disabled = false;
});
part("chat").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("judge").click();
});
