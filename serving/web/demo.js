// The feed of one person. Everything shown comes from the public API, and everything done goes through POST /v1/events.

import { $, Refused, ask, count, el, figure, pause, still, svg } from "./page.js";
import { cover } from "./cover.js";
import { contributions, pool, reason } from "./note.js";
import { SAMPLES } from "./samples.js";

const PAGE = 18;
const SEEN_MS = 1000; // half visible for a second is an impression
const FLUSH_MS = 1200;
const WEIGHTS = 12;
const PATIENCE_MS = 4000;
const AHEAD = 500; // pixels before the end the next page is asked for

const state = {
  user: "",
  shown: new Map(), // note_id -> {item, node, request_id, seen, since}
  cursor: null,
  weights: new Map(), // kind/value -> {weight, node}
  all: false,
  chosen: null,
  loading: false,
  asked: 0, // reads of weights so far, and the one that is drawn
  drawn: 0,
  run: 0, // grows with every new feed: late answers of an old one are dropped
};

const path = (user) => encodeURIComponent(user);
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");

function say(text) {
  $("said").textContent = text;
}

function complain(error) {
  $("banner").hidden = !error;
  if (error) $("banner").textContent = error.message;
}

// ------------------------------------------------------------------------------------------------------ who

function person(user) {
  state.user = user;
  state.run += 1;
  state.weights.clear();
  $("weights").replaceChildren();
  $("weights-of").textContent = `about ${user}`;
  $("person").value = user;
  $("feed-title").textContent = `Feed of ${user}`;
  history.replaceState(null, "", `#${path(user)}`);
  remember(user);
  fresh("–", "Give a heart: the time from the click until a weight read from the API has moved stands here.");
  leaveNote();
  refresh();
  readWeights(null);
}

function remember(user) {
  try {
    const known = JSON.parse(localStorage.getItem("upwell-people") ?? "[]").filter((one) => one !== user);
    localStorage.setItem("upwell-people", JSON.stringify([user, ...known].slice(0, 8)));
    known.forEach(suggest);
  } catch {
    // Without storage nobody is remembered.
  }
  suggest(user);
}

function suggest(user) {
  const list = $("people");
  if (![...list.options].some((one) => one.value === user) && list.options.length < 60) list.append(el("option", { value: user }));
}

async function newPerson() {
  let tags = [];
  try {
    const hot = await ask("/v1/hot?n=50");
    tags = [...new Set(hot.items.flatMap((item) => item.tags))].slice(0, 18);
  } catch (error) {
    complain(error);
  }
  const name = el("input", { id: "name", required: true, maxlength: 64, pattern: "[^_].*", value: `you-${random().slice(0, 4)}`, autocomplete: "off", spellcheck: "false" });
  const picks = tags.map((tag) => el("label", {}, el("input", { type: "checkbox", name: "tag", value: tag }), tag));
  const form = el("form", { method: "dialog" },
    el("h2", {}, "A new person"),
    el("label", { for: "name" }, "Name", name),
    tags.length ? el("fieldset", { class: "picks" }, el("legend", {}, "Interests at sign-up, if any"), picks) : null,
    el("div", { class: "row" }, el("button", { type: "button", click: () => dialog.close() }, "Cancel"), el("button", { class: "main" }, "Create")));
  const dialog = el("dialog", { "aria-label": "A new person", close: () => dialog.remove() }, form);
  form.addEventListener("submit", async () => {
    const user = name.value.trim();
    const chosen = [...form.querySelectorAll(":checked")].map((box) => box.value);
    try {
      if (chosen.length) {
        const told = await ask("/v1/events", { method: "POST", body: { type: "signup", user_id: user, tags: chosen, event_id: random() } });
        await ask(`/v1/users/${path(user)}/interests?after=${told.position}`);
      }
      person(user);
    } catch (error) {
      complain(error);
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

// ------------------------------------------------------------------------------------------------------ the feed

/** A whole new feed. */
async function refresh(after = null) {
  const run = ++state.run;
  state.cursor = null;
  await flush();
  for (const card of state.shown.values()) sight.unobserve(card.node);
  state.shown.clear();
  $("feed").replaceChildren(...Array.from({ length: 10 }, () => el("li", { class: "skeleton", "aria-hidden": "true" })));
  $("end").replaceChildren();
  try {
    const told = await feed({ after });
    if (run !== state.run) return;
    $("feed").replaceChildren();
    show(told);
    if (!told.items.length) nothing();
    complain(null);
  } catch (error) {
    if (run !== state.run) return;
    $("feed").replaceChildren();
    $("decided").textContent = "No feed.";
    $("end").replaceChildren(el("button", { type: "button", click: () => refresh() }, "Try again"));
    complain(error);
  }
}

function feed({ cursor = null, exclude = [], after = null, n = PAGE }) {
  const query = new URLSearchParams({ n, explain: "true" });
  if (cursor) query.set("cursor", cursor);
  if (exclude.length) query.set("exclude", exclude.slice(-300).join(","));
  if (after) query.set("after", after);
  return ask(`/v1/feed/${path(state.user)}?${query}`);
}

function show(told) {
  state.cursor = told.next_cursor;
  for (const item of told.items) {
    if (state.shown.has(item.note_id)) continue;
    const card = { item, request_id: told.request_id, seen: false, timer: 0 };
    card.node = cardOf(card);
    state.shown.set(item.note_id, card);
    $("feed").append(card.node);
    sight.observe(card.node);
    suggest(item.author_id);
  }
  const degraded = told.degraded ? ` Degraded: ${told.degraded}.` : "";
  $("decided").textContent = `Decided in ${told.took_ms < 10 ? told.took_ms.toFixed(1) : Math.round(told.took_ms)} ms by ${told.model_version}.${degraded}`;
  $("end").textContent = !state.cursor && state.shown.size ? "That is all there is for now." : "";
  // An observer tells of changes only: on a tall screen the end may stay in sight.
  requestAnimationFrame(() => $("end").getBoundingClientRect().top < innerHeight + AHEAD && more());
}

/** Further down: the next page. */
async function more() {
  if (state.loading || !state.cursor) return;
  state.loading = true;
  const run = state.run;
  try {
    const told = await feed({ cursor: state.cursor, exclude: [...state.shown.keys()] });
    if (run === state.run) show(told);
  } catch (error) {
    if (run === state.run) {
      state.cursor = null;
      complain(error);
      $("end").replaceChildren(el("button", { type: "button", click: () => refresh() }, "Start again"));
    }
  } finally {
    state.loading = false;
  }
}

/** What lies below and was not seen yet is decided anew: the click has changed what fits. */
async function decideAnew(after) {
  const below = [...state.shown.values()].filter((card) => !card.seen && card.node.getBoundingClientRect().top > innerHeight);
  if (below.length < 2 || state.loading) return;
  state.loading = true;
  const run = state.run;
  try {
    const gone = new Set(below.map((card) => card.item.note_id));
    const told = await feed({ exclude: [...state.shown.keys()].filter((id) => !gone.has(id)), after, n: Math.min(50, Math.max(PAGE, below.length)) });
    if (run !== state.run) return;
    for (const card of below) {
      if (card.seen) continue;
      drop(card, false);
    }
    show(told);
    const others = told.items.filter((item) => !gone.has(item.note_id)).length;
    say(`The feed below was decided anew: ${others} other notes.`);
  } catch {
    // The old ones stay: they are as good as they were.
  } finally {
    state.loading = false;
  }
}

function drop(card, slowly) {
  sight.unobserve(card.node);
  clearTimeout(card.timer);
  state.shown.delete(card.item.note_id);
  if (slowly && !still()) {
    card.node.classList.add("gone");
    setTimeout(() => card.node.remove(), 380);
  } else card.node.remove();
}

function nothing() {
  $("decided").textContent = "Nothing to show.";
  $("end").replaceChildren(el("div", { class: "empty" },
    el("h2", {}, "No notes for this person"),
    el("p", {}, "There is nothing that was not seen. Publish notes through POST /v1/notes, or let the page do it."),
    el("button", { type: "button", class: "main", click: publish }, `Publish ${SAMPLES.length} sample notes`)));
}

async function publish(event) {
  event.currentTarget.disabled = true;
  try {
    await ask("/v1/notes", { method: "POST", body: SAMPLES });
    await pause(900);
    await refresh();
  } catch (error) {
    complain(error);
  }
}

// ------------------------------------------------------------------------------------------------------ a card

const ICONS = {
  like: "M12 20.300 C5 15.200 2.800 11.800 2.800 8.600 A4.800 4.800 0 0 1 12 6.700 A4.800 4.800 0 0 1 21.200 8.600 C21.200 11.800 19 15.200 12 20.300 Z",
  collect: "M6 3.800 H18 V20.500 L12 16.200 L6 20.500 Z",
  hide: "M5 5 L19 19 M19 5 L5 19",
};
const icon = (name) => svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));

function cardOf(card) {
  const { item } = card;
  const { hue, picture } = cover(item.note_id, item.channel);
  const toggle = (type, did, name) => {
    const button = el("button", { type: "button", class: `act ${type}`, "aria-pressed": String(did), "aria-label": `${name}: ${item.title}`, click: () => toggled(card, type, button) },
      icon(type), el("span", { class: "number" }, count(item.counts[type])));
    return button;
  };
  const image = item.cover_url ? el("img", { src: item.cover_url, alt: "", loading: "lazy", referrerpolicy: "no-referrer", error: () => image.replaceWith(picture) }) : picture;
  const node = el("li", { class: item.cover_url ? "card with-picture" : "card", "data-note": item.note_id },
    el("button", { type: "button", class: "open", "aria-label": `Open: ${item.title}`, click: () => open(card) },
      image,
      el("span", { class: "on-cover" },
        el("span", { class: "chips" },
          item.pool !== null ? el("span", { class: "chip pool" }, item.pool === 0 ? "new" : `tier ${item.pool}`) : null,
          item.sponsored ? el("span", { class: "chip" }, "sponsored") : null,
          item.tags.slice(0, 1).map((tag) => el("span", { class: "chip" }, tag))),
        el("span", { class: "title" }, item.title || item.note_id))),
    el("div", { class: "text" },
      el("p", { class: "meta" }, el("span", {}, item.author_id), el("span", { class: "place" }, item.channel ?? "")),
      el("p", { class: "why" }, item.reasons.length ? reason(item.reasons[0]) : "For you")),
    el("div", { class: "acts" },
      toggle("like", item.liked, "Like"),
      toggle("collect", item.collected, "Collect"),
      el("button", { type: "button", class: "act hide", "aria-label": `Hide: ${item.title}`, click: () => hide(card) }, icon("hide"))));
  node.style.setProperty("--hue", hue);
  return node;
}

async function toggled(card, type, button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  const number = button.querySelector(".number");
  const before = card.item.counts[type];
  const set = (pressed, n) => {
    button.setAttribute("aria-pressed", String(pressed));
    card.item.counts[type] = n;
    number.textContent = count(n);
  };
  set(on, Math.max(0, before + (on ? 1 : -1)));
  if (on) {
    button.classList.add("beat");
    setTimeout(() => button.classList.remove("beat"), 400);
  }
  try {
    const position = await did(card, on ? type : `un${type}`);
    decideAnew(position);
  } catch (error) {
    set(!on, before);
    complain(error);
  }
}

async function hide(card) {
  const following = card.node.nextElementSibling ?? card.node.previousElementSibling;
  try {
    const sent = did(card, "hide", { scope: "note" });
    drop(card, true);
    following?.querySelector(".open")?.focus({ preventScroll: true });
    decideAnew(await sent);
  } catch (error) {
    complain(error);
  }
}

// ------------------------------------------------------------------------------------------------------ what is done goes out

/** The event of an action on a note, tied to the feed that showed it. */
const event = (card, type, more = {}) => ({
  type, user_id: state.user, note_id: card.item.note_id, request_id: card.request_id, position: card.item.position, surface: "feed", event_id: random(), ...more,
});

/** Sends an action and measures how long it takes until a read shows what it did. Returns the position. */
async function did(card, type, more = {}) {
  const began = performance.now();
  const user = state.user;
  fresh("…", `${type} is on its way.`, true);
  const first = card.seen ? [] : [event(card, "impression")];
  card.seen = true;
  const told = await ask("/v1/events", { method: "POST", body: [...first, event(card, type, more)] }).catch((error) => {
    fresh("–", "It was not accepted.");
    throw error;
  });
  complain(null);
  measured(card, type, user, began, performance.now() - began, told.position);
  return told.position;
}

/** Reads until the weights show the action: the first read that does ends the clock. */
async function measured(card, type, user, began, accepted, position) {
  const before = new Map([...state.weights].map(([key, one]) => [key, one.weight]));
  const about = new Set([...card.item.tags.map((tag) => `tag/${tag}`), `author/${card.item.author_id}`, `channel/${card.item.channel}`]);
  while (performance.now() - began < PATIENCE_MS) {
    let told;
    const turn = ++state.asked;
    try {
      told = await ask(`/v1/users/${path(user)}/interests?after=${position}`);
    } catch (error) {
      return complain(error);
    }
    if (user !== state.user) return undefined;
    const ms = performance.now() - began;
    const moved = told.interests.find((i) => about.has(`${i.kind}/${i.value}`) && i.moved_by?.note_id === card.item.note_id && i.moved_by.type === type)
      ?? told.interests.find((i) => about.has(`${i.kind}/${i.value}`) && Math.abs(i.weight - (before.get(`${i.kind}/${i.value}`) ?? 0)) > 0.002);
    weights(told, about, turn);
    if (moved) {
      fresh(`${Math.round(ms)} ms`, `From the click (${type}) until a read showed “${moved.value}” moved. Kafka had the event after ${Math.round(accepted)} ms.`);
      $("sheet-text").textContent = `${Math.round(ms)} ms · ${moved.value} ${figure(moved.weight)}`;
      return undefined;
    }
    await pause(40);
  }
  fresh("–", `No weight moved within ${PATIENCE_MS / 1000} s: it was counted before, or the workers are behind.`);
  return undefined;
}

function fresh(big, text, waiting = false) {
  const out = $("freshness");
  out.textContent = big;
  out.parentElement.classList.toggle("waiting", waiting);
  $("freshness-text").textContent = text;
}

const waiting = [];

/** Half visible for a second. */
const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const card = state.shown.get(entry.target.dataset.note);
    if (!card || card.seen) continue;
    clearTimeout(card.timer);
    if (entry.isIntersecting && entry.intersectionRatio >= 0.5) {
      card.timer = setTimeout(() => {
        card.seen = true;
        sight.unobserve(card.node);
        waiting.push({ user: state.user, card });
      }, SEEN_MS);
    }
  }
}, { threshold: [0, 0.5] });

/** Impressions, many at once: one event for each feed that showed them. */
async function flush(keepalive = false) {
  const now = waiting.splice(0);
  if (!now.length) return;
  const by = Map.groupBy ? Map.groupBy(now, groupKey) : grouped(now);
  const body = [...by.values()].map((some) => ({
    type: "impression", user_id: some[0].user, request_id: some[0].card.request_id, surface: "feed", event_id: random(),
    items: some.slice(0, 50).map(({ card }) => ({ note_id: card.item.note_id, position: card.item.position, visible_ms: SEEN_MS })),
  }));
  try {
    const told = await ask("/v1/events", { method: "POST", body, keepalive });
    if (!keepalive && now[0].user === state.user) readWeights(told.position);
  } catch (error) {
    waiting.unshift(...now); // the next turn tries again; ids make a repeat harmless
    if (!keepalive) complain(error);
  }
}

const groupKey = ({ user, card }) => `${user} ${card.request_id}`;
function grouped(entries) {
  const by = new Map();
  for (const one of entries) by.set(groupKey(one), [...(by.get(groupKey(one)) ?? []), one]);
  return by;
}

// ------------------------------------------------------------------------------------------------------ weights

async function readWeights(after) {
  const user = state.user;
  const turn = ++state.asked;
  try {
    const told = await ask(`/v1/users/${path(user)}/interests${after ? `?after=${after}` : ""}`);
    if (user === state.user) weights(told, null, turn);
  } catch (error) {
    if (!(error instanceof Refused && error.status === 503)) complain(error);
  }
}

/** Shows weights: what is liked first, then what is not. `about` are those that an action was about. */
function weights(told, about, turn = state.asked) {
  if (turn < state.drawn) return; // an answer that was overtaken by one to a later question is older than what stands here
  state.drawn = turn;
  const list = $("weights");
  const found = told.interests;
  const liked = found.filter((one) => one.weight >= 0).slice(0, state.all ? found.length : Math.max(WEIGHTS - 3, WEIGHTS - found.filter((one) => one.weight < 0).length));
  const not = found.filter((one) => one.weight < 0).reverse().slice(0, state.all ? found.length : WEIGHTS - liked.length);
  const shown = [...liked, ...not];
  const scale = Math.max(1, ...found.map((one) => Math.abs(one.weight)));
  const places = new Map([...list.children].map((node) => [node, node.offsetTop]));
  const kept = new Map();
  for (const one of shown) {
    const key = `${one.kind}/${one.value}`;
    const known = state.weights.get(key);
    const line = known ?? { node: weightRow(one), weight: 0 };
    const delta = one.weight - line.weight;
    line.node.classList.toggle("below", one.weight < 0);
    line.node.querySelector(".value").textContent = figure(one.weight).replace("-", "−");
    line.node.querySelector("i").style.setProperty("--at", (Math.abs(one.weight) / scale).toFixed(4));
    line.node.title = one.moved_by ? `last moved by ${one.moved_by.type} of ${one.moved_by.note_id ?? "a note"}; short ${figure(one.short)}, long ${figure(one.long)}` : "";
    if ((known && Math.abs(delta) > 0.1) || (about?.has(key) && Math.abs(delta) > 0.005)) {
      line.node.classList.add("moved");
      clearTimeout(line.timer);
      line.timer = setTimeout(() => line.node.classList.remove("moved"), 2200);
    }
    line.weight = one.weight;
    kept.set(key, line);
  }
  for (const [key, line] of state.weights) if (!kept.has(key)) line.node.remove();
  state.weights = kept;
  list.append(...[...kept.values()].map((line) => line.node));
  if (!still()) {
    for (const [node, top] of places) {
      const by = top - node.offsetTop;
      if (node.isConnected && by) node.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 360, easing: "cubic-bezier(0.2, 0.8, 0.2, 1)" });
    }
  }
  $("weights-none").hidden = found.length > 0;
  $("weights-all").hidden = found.length <= WEIGHTS;
  $("weights-all").textContent = state.all ? "Show fewer" : `Show all ${found.length}`;
  state.told = told;
}

function weightRow(one) {
  return el("li", { class: "weight", "data-weight": `${one.kind}/${one.value}` },
    el("span", { class: "name" }, one.kind === "tag" ? null : el("span", { class: "kind" }, one.kind), one.value),
    el("span", { class: "track", "aria-hidden": "true" }, el("i")),
    el("span", { class: "value" }),
    one.kind === "tag" ? el("button", { type: "button", class: "forget", title: "Forget this", "aria-label": `Forget ${one.value}`, click: () => forget(one.value) }, "×") : el("span"));
}

async function forget(tag) {
  try {
    const told = await ask(`/v1/users/${path(state.user)}/interests/${encodeURIComponent(tag)}`, { method: "DELETE" });
    await readWeights(told.position);
    say(`${tag} is forgotten.`);
  } catch (error) {
    complain(error);
  }
}

// ------------------------------------------------------------------------------------------------------ one note

async function open(card) {
  leaveNote();
  state.chosen = { card, began: performance.now(), user: state.user };
  card.node.dataset.chosen = "";
  sheet(true);
  $("note").replaceChildren(el("h2", { id: "note-title" }, "A note's pool and evidence"), el("p", { class: "name" }, card.item.title));
  const box = getComputedStyle($("sheet")).display === "none" ? $("side") : $("behind");
  const top = $("note").offsetTop - $("behind").offsetTop - 8;
  try {
    await readNote(await did(card, "click"));
    if (box.scrollTop < top - 200) box.scrollTo({ top, behavior: still() ? "auto" : "smooth" });
  } catch (error) {
    complain(error);
  }
}

/** On leaving: how long it was looked at. */
function leaveNote(keepalive = false) {
  const chosen = state.chosen;
  if (!chosen) return;
  state.chosen = null;
  delete chosen.card.node.dataset.chosen;
  const view = { ...event(chosen.card, "view", { dwell_ms: Math.round(performance.now() - chosen.began) }), user_id: chosen.user };
  ask("/v1/events", { method: "POST", body: view, keepalive }).catch(() => undefined);
}

let tiers = null;

async function readNote(after = null) {
  const chosen = state.chosen;
  if (!chosen) return;
  const { item } = chosen.card;
  try {
    tiers ??= (await ask("/v1/pools")).tiers;
    const told = await ask(`/v1/notes/${encodeURIComponent(item.note_id)}${after ? `?after=${after}` : ""}`);
    if (state.chosen !== chosen) return;
    $("note").replaceChildren(
      el("h2", { id: "note-title" }, "A note's pool and evidence"),
      el("p", { class: "name" }, told.title || told.note_id),
      el("p", { class: "soft small" }, `by ${told.author_id} · ${told.note_id}`),
      ...pool(told, tiers),
      ...contributions(item));
  } catch (error) {
    if (state.chosen === chosen && error.status !== 503) complain(error);
  }
}

// ------------------------------------------------------------------------------------------------------ the page

function sheet(opened) {
  $("sheet").setAttribute("aria-expanded", String(opened));
}

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = $("person").value.trim();
  if (user && user !== state.user) person(user);
});
$("new-person").addEventListener("click", newPerson);
$("refresh").addEventListener("click", async () => {
  await refresh();
  scrollTo({ top: 0 });
});
$("sheet").addEventListener("click", () => sheet($("sheet").getAttribute("aria-expanded") !== "true"));
$("weights-all").addEventListener("click", () => {
  state.all = !state.all;
  weights(state.told, null);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("sheet").getAttribute("aria-expanded") === "true") sheet(false);
});
new IntersectionObserver((entries) => entries[0].isIntersecting && more(), { rootMargin: `${AHEAD}px` }).observe($("end"));
setInterval(() => document.visibilityState === "visible" && flush(), FLUSH_MS);
setInterval(() => document.visibilityState === "visible" && readNote(), 2000);
addEventListener("pagehide", () => {
  flush(true);
  leaveNote(true);
});

let first = decodeURIComponent(location.hash.slice(1));
if (!first) {
  try {
    first = JSON.parse(localStorage.getItem("upwell-people") ?? "[]")[0];
  } catch {
    first = "";
  }
}
person(first || `you-${random().slice(0, 4)}`);
