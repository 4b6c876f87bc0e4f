"use strict";
// Makes pages live. Without it they show the same, once.

// Times as they are where the reader is.
function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dateTime).toLocaleString();
  }
}
localize(document);

for (const link of document.querySelectorAll("a[data-line]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const area = document.getElementById("recipe");
    const lines = area.value.split("\n");
    const line = Number(link.dataset.line) - 1;
    const start = lines.slice(0, line).join("\n").length + (line > 0 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line] || "").length);
  });
}

const ROW = 18;
// Browsers draw no element that is taller; a longer log is scrolled in larger steps.
const TALLEST = 8_000_000;
const PAGE = 500;
// So many pages on each side of what is looked at are kept.
const NEAR = 40;
// Pauses before something is asked for again, milliseconds; each is twice as long as the one before.
const SHORTEST = 1_000;
const LONGEST = 30_000;
// A build that has ended is looked at again after so long: it may be told to run once more.
const RESTING = 5_000;

// A log of any length: entries lie under their numbers, and only those in sight are fetched and drawn.
class KilnLog extends HTMLElement {
  connectedCallback() {
    this.build = this.dataset.build;
    this.last = Number(this.dataset.last);
    this.pause = SHORTEST;
    if (this.hasAttribute("data-q")) { this.search(); return; }
    this.pages = new Map();
    this.asked = new Set();
    this.follow = true;
    this.near = 0;
    this.trouble = "";
    this.innerHTML = '<div class="bar"><label><input type="checkbox" class="follow" checked> Follow</label>' +
      '<label><input type="checkbox" class="times"> Times</label><span role="status"></span></div>' +
      '<div class="window" tabindex="0" role="log" aria-label="Build log" aria-live="off"><div class="view"></div><div class="space"></div></div>';
    this.window = this.querySelector(".window");
    this.space = this.querySelector(".space");
    this.view = this.querySelector(".view");
    this.status = this.querySelector("[role=status]");
    this.rows = new Map();
    this.window.addEventListener("scroll", () => this.scrolled());
    this.querySelector(".follow").addEventListener("change", (event) => { this.follow = event.target.checked; this.draw(); });
    this.querySelector(".times").addEventListener("change", () => { this.clear(); this.draw(); });
    window.addEventListener("hashchange", () => this.go());
    // Where all of the log is here, a way to a line of it leads to no other page.
    document.addEventListener("click", (event) => {
      const link = event.target.closest && event.target.closest("a.line");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      if (location.hash === link.hash) this.go(); else location.hash = link.hash;
    });
    this.draw();
    this.go();
    // Nothing comes after the end.
    if (document.getElementById("summary").hasAttribute("data-ended")) this.rest(); else this.listen();
  }

  // Draws what is sought, as it comes, each with a way to its place in the whole log.
  async search() {
    const named = [...new URLSearchParams(location.search)];
    this.sought = new URLSearchParams(named.filter(([name, value]) => value && (name === "q" || name === "stage")));
    const answer = await fetch(`/api/v1/builds/${this.build}/events?tail=${PAGE}&limit=${PAGE}&${this.sought}`).catch(() => null);
    // What the server has drawn stays.
    if (!answer || !answer.ok) return;
    const { entries, last, ended } = await answer.json();
    this.last = last;
    this.found = document.createElement("div");
    this.found.className = "found";
    this.found.tabIndex = 0;
    this.found.append(...entries.map((entry) => this.row(entry)));
    this.querySelector("pre").replaceWith(this.found);
    if (!ended) this.listen();
  }

  // Says whether the build is over, and shows how it stands.
  async over() {
    const answer = await fetch(`/api/v1/builds/${this.build}`).catch(() => null);
    const build = answer && answer.ok ? await answer.json() : null;
    if (build && build.ended) renew();
    return Boolean(build && build.ended);
  }

  // Waits until more comes of a build that has ended.
  rest() {
    this.timer = setTimeout(async () => {
      const answer = document.hidden ? null : await fetch(`/api/v1/builds/${this.build}`).catch(() => null);
      const build = answer && answer.ok ? await answer.json() : null;
      if (!this.isConnected) return;
      if (!build || build.events <= this.last) { this.rest(); return; }
      this.ended = false;
      this.listen();
    }, RESTING);
  }

  listen() {
    this.source = new EventSource(`/api/v1/builds/${this.build}/events?after=${this.last}&${this.sought || ""}`);
    this.source.onopen = () => { this.pause = SHORTEST; this.tell(""); };
    this.source.onmessage = (event) => this.heard(JSON.parse(event.data));
    this.source.onerror = async () => {
      if (this.ended) { this.source.close(); return; }
      // The end itself may not be like what is sought.
      if (this.found && await this.over()) { this.source.close(); return; }
      this.tell("the server does not answer, and is asked again");
      // What broke off the browser asks for again by itself; after a refusal it would not.
      if (this.source.readyState !== EventSource.CLOSED) return;
      this.timer = setTimeout(() => this.listen(), this.pause);
      this.pause = Math.min(this.pause * 2, LONGEST);
    };
  }

  // Says what is wrong until it is right again.
  tell(trouble) {
    this.trouble = trouble;
    if (!this.found) this.later();
  }

  // Shows the entry that the address names.
  go() {
    const named = /^#e(\d+)$/.exec(location.hash);
    if (!named) return;
    this.follow = false;
    this.querySelector(".follow").checked = false;
    const { clientHeight, scrollHeight } = this.window;
    const most = Math.max(this.last - Math.floor(clientHeight / ROW), 1);
    this.moveTo(Math.min((Number(named[1]) - 1) / most, 1) * Math.max(scrollHeight - clientHeight, 0));
    this.window.scrollIntoView({ block: "nearest" });
    this.later();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
  }

  heard(entry) {
    if (entry.seq <= this.last) return;
    if (this.found) {
      this.last = entry.seq;
      this.found.append(this.row(entry));
      while (this.found.childElementCount > NEAR * PAGE) this.found.firstChild.remove();
      return;
    }
    // What is far from what is looked at is fetched when it is looked at.
    if (this.follow || Math.abs(Math.floor((entry.seq - 1) / PAGE) - this.near) <= NEAR) this.put(entry);
    this.last = entry.seq;
    if (entry.event === "build-ended") { this.ended = true; this.source.close(); this.rest(); }
    if (/^(stage-|task-|build-|started|artifact)/.test(entry.event)) renew();
    this.later();
  }

  put(entry) {
    const page = Math.floor((entry.seq - 1) / PAGE);
    if (!this.pages.has(page)) {
      this.pages.set(page, new Array(PAGE));
      for (const other of this.pages.keys()) if (Math.abs(other - page) > NEAR) this.pages.delete(other);
    }
    this.pages.get(page)[(entry.seq - 1) % PAGE] = entry;
  }

  get(seq) {
    const page = this.pages.get(Math.floor((seq - 1) / PAGE));
    return page && page[(seq - 1) % PAGE];
  }

  async fetch(page) {
    if (this.asked.has(page)) return;
    this.asked.add(page);
    try {
      const answer = await fetch(`/api/v1/builds/${this.build}/events?after=${page * PAGE}&limit=${PAGE}`);
      if (!answer.ok) throw new Error(answer.statusText);
      for (const entry of (await answer.json()).entries) this.put(entry);
      this.tell("");
    } catch (error) {
      this.tell(`the log could not be read: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, SHORTEST));
    }
    this.asked.delete(page);
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  // Our own scrolling is told from the reader's by where it went: one event may stand for both, and then the reader's counts.
  moveTo(top) {
    this.window.scrollTop = top;
    this.moved = this.window.scrollTop;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.window;
    const atEnd = scrollTop + clientHeight >= scrollHeight - ROW;
    if (scrollTop !== this.moved) {
      this.moved = null;
      this.follow = atEnd;
      this.querySelector(".follow").checked = atEnd;
    }
    this.later();
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }

  draw() {
    this.space.style.height = `${Math.min(this.last * ROW, TALLEST)}px`;
    const { clientHeight, scrollHeight } = this.window;
    const end = Math.max(scrollHeight - clientHeight, 0);
    if (this.follow && Math.abs(this.window.scrollTop - end) >= 1) this.moveTo(end);
    const fit = Math.floor(clientHeight / ROW);
    const at = end > 0 ? Math.min(this.window.scrollTop / end, 1) : 0;
    const first = Math.floor(at * Math.max(this.last - fit, 0)) + 1;
    this.near = Math.floor((first - 1) / PAGE);
    const shown = new Set();
    for (let seq = first; seq <= first + fit && seq <= this.last; seq++) {
      shown.add(seq);
      const entry = this.get(seq);
      if (!entry) { this.fetch(Math.floor((seq - 1) / PAGE)); continue; }
      let row = this.rows.get(seq);
      if (!row) { row = this.row(entry); this.rows.set(seq, row); this.view.append(row); }
      row.style.top = `${(seq - first) * ROW}px`;
    }
    for (const [seq, row] of this.rows) if (!shown.has(seq)) { row.remove(); this.rows.delete(seq); }
    this.status.textContent = this.trouble ? `${this.last} entries; ${this.trouble}` : `${this.last} entries`;
  }

  row(entry) {
    const row = document.createElement("div");
    row.className = "row " + kind(entry);
    row.id = `e${entry.seq}`;
    if (this.found || this.querySelector(".times").checked) {
      const time = document.createElement(this.found ? "a" : "time");
      if (this.found) time.href = `/builds/${this.build}?from=${entry.seq}#e${entry.seq}`;
      time.textContent = new Date(entry.at).toISOString().slice(11, 23);
      row.append(time);
    }
    coloured(row, words(entry));
    return row;
  }
}

function kind(entry) {
  if (entry.event === "log") return "log";
  if (entry.event === "progress") return "progress";
  return entry.event === "failed" || entry.event === "task-lost" ? "step bad" : "step";
}

function words(entry) {
  switch (entry.event) {
    case "log": return `[${entry.source}] ${entry.line}`;
    case "progress": return `${entry.stage || ""} ${entry.what}: ${entry.done}${entry.total ? ` of ${entry.total}` : ""} ${entry.unit}`;
    case "started": return `${entry.name}: ${entry.stages.length} stages`;
    case "stage-started": return `${entry.stage}: begins`;
    case "stage-restored": return `${entry.stage}: from the cache`;
    case "stage-finished": return `${entry.stage}: done in ${entry.millis} ms`;
    case "warning": return `warning: ${entry.message}`;
    case "artifact-written": return `${entry.artifact.name}: ${entry.artifact.size} bytes, sha256 ${entry.artifact.sha256}`;
    case "failed": return `failed: ${entry.message}${entry.hint ? ` (${entry.hint})` : ""}`;
    case "finished": return `done in ${entry.millis} ms`;
    case "submitted": return `submitted by ${entry.by}`;
    case "task-leased": return `${entry.task_name}: goes to node ${entry.node_name}`;
    case "task-lost": return `${entry.task_name}: node ${entry.node_name} was lost; it goes out again`;
    case "task-left": return `${entry.task_name}: node ${entry.node_name} does not have it; it goes out again`;
    case "task-ended": return `${entry.task_name}: ${entry.state}${entry.reason ? `: ${entry.reason}` : ""}`;
    case "task-again": return `${entry.task_name}: to be run again, says ${entry.by}`;
    case "cancel-asked": return `${entry.by} cancels it`;
    case "build-ended": return `the build is ${entry.state}`;
    default: return entry.event;
  }
}

// Colours of the terminal (ECMA-48, and those of xterm); other escape sequences are left out. Text stays text: nothing of it becomes markup.
function coloured(into, text) {
  let look = { on: new Set(), ink: "", paper: "" };
  for (const part of text.split(/(\x1b\[[0-?]*[ -\/]*[@-~])/)) {
    const escape = /^\x1b\[([0-9;:]*)m$/.exec(part);
    if (escape) {
      look = dressed(look, escape[1].split(";"));
    } else if (!part.startsWith("\x1b[")) {
      const span = document.createElement("span");
      span.className = [...look.on].map((code) => `a${code}`).join(" ");
      wear(span, look.ink, "a", "color");
      wear(span, look.paper, "b", "backgroundColor");
      span.textContent = part.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "");
      into.append(span);
    }
  }
}

function dressed({ on, ink, paper }, codes) {
  on = new Set(on);
  while (codes.length) {
    // `38:2::R:G:B` and `4:3` are one code with parts of its own.
    const [code, ...parts] = codes.shift().split(":").map(Number);
    if (parts.length && code === 4) { parts[0] ? on.add(4) : on.delete(4); }
    else if (parts.length) {
      const [form, ...rest] = parts;
      const colour = other([form, ...rest.slice(form === 2 ? -3 : 0)]);
      if (code === 38) ink = colour;
      if (code === 48) paper = colour;
    }
    else if (code === 0) { on.clear(); ink = paper = ""; }
    else if (code < 10) on.add(code);
    else if (code === 22) { on.delete(1); on.delete(2); }
    else if (code > 22 && code < 30) on.delete(code - 20);
    else if (code === 38) ink = other(codes);
    else if (code === 48) paper = other(codes);
    else if (code === 58) other(codes);
    else if (code === 39) ink = "";
    else if (code === 49) paper = "";
    else if ((code >= 30 && code < 38) || (code >= 90 && code < 98)) ink = code;
    else if ((code >= 40 && code < 48) || (code >= 100 && code < 108)) paper = code - 10;
  }
  return { on, ink, paper };
}

// One of 256 colours, or any: takes what belongs to it.
function other(codes) {
  const form = Number(codes.shift());
  if (form === 2) return `rgb(${codes.splice(0, 3).map(Number).join(" ")})`;
  if (form !== 5) return "";
  const code = Number(codes.shift());
  if (code < 16) return code < 8 ? 30 + code : 82 + code;
  const grey = 8 + (code - 232) * 10;
  const part = (weight) => [0, 95, 135, 175, 215, 255][Math.floor((code - 16) / weight) % 6];
  return code >= 232 ? `rgb(${grey} ${grey} ${grey})` : `rgb(${part(36)} ${part(6)} ${part(1)})`;
}

function wear(span, colour, letter, property) {
  if (typeof colour === "number") span.classList.add(letter + colour);
  else if (colour) span.style[property] = colour;
}

let renewing = false;
async function renew() {
  if (renewing) return;
  renewing = true;
  setTimeout(async () => {
    renewing = false;
    const summary = document.getElementById("summary");
    const answer = await fetch(`/builds/${summary.dataset.build}/summary`).catch(() => null);
    if (!answer || !answer.ok) return;
    const fresh = await answer.text();
    const at = summary.contains(document.activeElement) ? document.activeElement : null;
    const same = at && [...summary.querySelectorAll(at.tagName)].indexOf(at);
    summary.innerHTML = fresh;
    localize(summary);
    // Whoever goes by keyboard stays where they were, if that is still the same thing.
    const now = at && summary.querySelectorAll(at.tagName)[same];
    if (now && now.textContent === at.textContent) now.focus();
  }, 300);
}

customElements.define("kiln-log", KilnLog);
