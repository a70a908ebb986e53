// How the system is: one answer of the API every few seconds, shown as tables. What is red is what an alert fires for.

import { $, ask, count, duration, el, figure, pause, svg } from "./page.js";

const KINDS = { top: "now" };
let last = null;
let lastAt = 0;

// ------------------------------------------------------------------------------------------------------ tables

/** Fills a table. A column is [heading, cell of a row, class]; the first one heads its row. Only what differs is replaced. */
function table(id, columns, rows, { bad = () => false, gone = () => false, none = "Nothing." } = {}) {
  const head = el("thead", {}, el("tr", {}, columns.map(([name, , kind]) => el("th", { scope: "col", class: kind ?? null }, name))));
  const body = el("tbody", {}, rows.length
    ? rows.map((row) => el("tr", { class: bad(row) ? "bad" : gone(row) ? "gone" : null }, columns.map(([, cell, kind], i) => {
      const told = cell(row);
      return i === 0 ? el("th", { scope: "row", class: kind ?? null }, told) : el("td", { class: kind ?? null }, told);
    })))
    : el("tr", {}, el("td", { class: "none", colspan: columns.length }, none)));
  const node = typeof id === "string" ? $(id) : id;
  if (node.dataset.shown !== (node.dataset.shown = `${head.textContent}|${body.textContent}|${body.querySelectorAll(".bad").length}`)) node.replaceChildren(head, body);
  return node;
}

const rate = (perSecond) => (perSecond === 0 ? "–" : perSecond < 0.1 ? `${figure(perSecond * 60)}/min` : `${figure(perSecond)}/s`);
const number = (n) => (n === null || n === undefined ? "–" : count(n));
const reds = (told, section) => new Set(told.alerts.filter((one) => one.section === section).flatMap((one) => one.rows));

// ------------------------------------------------------------------------------------------------------ top

function top(told) {
  const state = $("state");
  const n = told.alerts.length;
  const text = n === 0 ? "All is well" : n === 1 ? "One thing is wrong" : `${n} things are wrong`;
  if (state.textContent !== text) state.textContent = text;
  state.dataset.state = n ? "wrong" : "well";
  document.title = n ? `(${n}) Upwell: operations` : "Upwell: operations";
  $("about").textContent = `${told.prefix} · ${told.release}`;
  const list = $("alerts");
  const texts = told.alerts.map((one) => `${one.name} ${one.text}`).join("|");
  if (list.dataset.shown !== texts) {
    list.dataset.shown = texts;
    list.replaceChildren(...told.alerts.map((one) => el("li", {}, el("b", {}, one.name), el("span", {}, one.text, " ", el("time", { class: "small" })), el("a", { href: `#${KINDS[one.section] ?? `${one.section}-title`}` }, "show"))));
  }
  told.alerts.forEach((one, i) => { list.children[i].querySelector("time").textContent = `since ${duration(one.lasts_s)}`; });
  for (const panel of document.querySelectorAll("[data-section]")) panel.classList.toggle("bad", told.alerts.some((one) => one.section === panel.dataset.section));
}

/** A line over the last hour; gaps stay gaps. */
function line(values, ceiling) {
  const known = values.filter((v) => v !== null);
  const most = Math.max(...known, ceiling ?? 0, 1e-9);
  const point = (v, i) => `${((i / (values.length - 1)) * 100).toFixed(2)} ${(29 - (v / most) * 27).toFixed(2)}`;
  const runs = [];
  values.forEach((v, i) => {
    if (v === null) return;
    if (i && values[i - 1] !== null) runs.at(-1).push([v, i]);
    else runs.push([[v, i]]);
  });
  const drawn = runs.map((run) => (run.length === 1 ? [[run[0][0], Math.max(0, run[0][1] - 0.5)], [run[0][0], run[0][1]]] : run));
  return svg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    drawn.map((run) => svg("path", { class: "under", d: `M${point(0, run[0][1])} L${run.map(([v, i]) => point(v, i)).join(" L")} L${point(0, run.at(-1)[1])} Z` })),
    drawn.map((run) => svg("path", { d: `M${run.map(([v, i]) => point(v, i)).join(" L")}` })));
}

const worstRows = (matrices) => {
  const all = Object.values(matrices).flat();
  return Array.from({ length: 60 }, (_, i) => all.reduce((most, row) => (row[i] === null || row[i] === undefined ? most : Math.max(most ?? 0, row[i])), null));
};

function tiles(told) {
  const { numbers, series } = told.hour;
  const lags = told.lag.map((row) => row.seconds).filter((s) => s !== null);
  const fresh = told.lag.map((row) => row.fresh).filter((s) => s !== null);
  const names = new Set(told.alerts.map((one) => one.name));
  const alive = told.workers.filter((one) => one.alive).length;
  const rows = [
    ["Worst lag", lags.length ? duration(Math.max(...lags)) : "–", worstRows(told.hour.lag), names.has("UpwellLag") || names.has("UpwellNoWorker")],
    ["Freshness, worst", fresh.length ? duration(Math.max(...fresh)) : "–", worstRows(told.hour.fresh), names.has("UpwellStale")],
    ["Event → state, p99", duration(numbers.visible_p99), series.visible_p99, false],
    ["Events", rate(numbers.events), series.events, false],
    ["Feed, p99", duration(numbers.feed_p99), series.feed_p99, names.has("UpwellFeedSlow")],
    ["Feeds", rate(numbers.feeds), series.feeds, false],
    ["Dead letters", rate(numbers.dead), series.dead, names.has("UpwellDeadLetters") || names.has("UpwellFoldError")],
    ["Workers", String(alive), null, names.has("UpwellNoWorker")],
  ];
  $("tiles").replaceChildren(...rows.filter(([name]) => name !== "Feeds" && name !== "Workers").map(([name, value, values, bad]) =>
    el("div", { class: bad ? "tile bad" : "tile", "data-tile": name }, el("dt", {}, name), el("dd", {}, value), values ? line(values) : null)));
}

// ------------------------------------------------------------------------------------------------------ lag

const rgb = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function mixed(from, to, share) {
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((x, i) => Math.round(x + (b[i] - x) * share)).join(" ")})`;
}

/** The last hour of every partition: from calm to the accent up to the bound, red beyond it. */
function strip(canvas, rows, bound, what) {
  const high = Math.max(3, Math.min(8, Math.floor(96 / Math.max(rows.length, 1))));
  canvas.width = 60 * 6;
  canvas.height = rows.length * high;
  canvas.style.height = `${Math.max(18, rows.length * high)}px`;
  const paint = canvas.getContext("2d");
  const [calm, accent, bad] = [rgb("--wash"), rgb("--accent"), rgb("--bad")];
  const colours = new Map();
  rows.forEach((row, r) => row.forEach((v, i) => {
    if (v === null) return;
    const level = v > bound ? 99 : Math.round(Math.min(1, Math.log1p(v * 4) / Math.log1p(bound * 4)) * 12);
    if (!colours.has(level)) colours.set(level, level === 99 ? bad : mixed(calm, accent, 0.18 + (level / 12) * 0.82));
    paint.fillStyle = colours.get(level);
    paint.fillRect(i * 6, r * high, 5, Math.max(2, high - 1));
  }));
  const known = rows.flat().filter((v) => v !== null);
  canvas.setAttribute("aria-label", known.length ? `${what}: at most ${duration(Math.max(...known))} in the last hour` : `${what}: nothing known`);
}

function lag(told) {
  const red = reds(told, "lag");
  const redIn = (row) => row.partitions.filter((p) => red.has(`${row.stage}/${row.topic}/${p.p}`));
  const canvases = [];
  const hour = (row, what, bound, name) => {
    const rows = told.hour[what][`${row.stage}/${row.topic}`] ?? [];
    if (!rows.flat().some((v) => v !== null)) return "–";
    const canvas = el("canvas", { role: "img" });
    canvases.push(() => strip(canvas, rows, bound, `${name} of ${row.stage} on ${row.topic}`));
    return canvas;
  };
  const columns = [
    ["Stage", (row) => row.stage],
    ["Reads", (row) => row.topic],
    ["Lag", (row) => duration(row.seconds), "n"],
    ["Records", (row) => number(row.records), "n"],
    ["Freshness", (row) => duration(row.fresh), "n"],
    ["Applies", (row) => rate(row.rate), "n"],
    ["Drained in", (row) => (row.records ? duration(row.drain_s) : "–"), "n"],
    ["Lag, last hour", (row) => hour(row, "lag", told.bounds.lag_s, "Lag"), "strip"],
    ["Freshness, last hour", (row) => hour(row, "fresh", told.bounds.fresh_s, "Freshness"), "strip"],
  ];
  $("lag").dataset.shown = "";
  table("lag", columns, told.lag, { bad: (row) => redIn(row).length > 0, none: "No worker has started on this store yet." });
  for (const paint of canvases) paint();

  const box = $("partitions");
  for (const row of told.lag) {
    const name = `${row.stage}/${row.topic}`;
    let part = box.querySelector(`[data-input="${name}"]`);
    if (!part) {
      part = el("details", { "data-input": name, toggle: () => last && lag(last) }, el("summary"), el("div", { class: "scroll" }, el("table")));
      box.append(part);
    }
    const wrong = redIn(row).length;
    const summary = part.querySelector("summary");
    summary.textContent = `${row.stage}, ${row.topic}: ${row.partitions.length} partition${row.partitions.length > 1 ? "s" : ""}${wrong ? `, ${wrong} red` : ""}`;
    summary.className = wrong ? "bad" : "";
    if (part.open) {
      table(part.querySelector("table"), [
        ["Partition", (p) => String(p.p)], ["Lag", (p) => duration(p.seconds), "n"], ["Records", (p) => number(p.records), "n"], ["Freshness", (p) => duration(p.fresh), "n"],
        ["Checkpoint", (p) => number(p.applied), "n"], ["End", (p) => number(p.end), "n"], ["Worker", (p) => p.owner ?? "nobody"],
      ], row.partitions, { bad: (p) => red.has(`${name}/${p.p}`) });
    }
  }
}

// ------------------------------------------------------------------------------------------------------ the rest

function rest(told) {
  const lately = (rows) => [...rows].sort((a, b) => b.rate - a.rate || b.total - a.total);
  const events = lately(told.events.filter((row) => row.stage === "users"));
  $("events-of").textContent = `users stage, last ${duration(told.window_s)}`;
  table("events", [["Type", (r) => r.type], ["Outcome", (r) => r.outcome.replaceAll("_", " ")], ["Rate", (r) => rate(r.rate), "n"], ["Seen", (r) => number(r.total), "n"]], events, { none: "No events yet." });

  const spread = [["Count", (r) => number(r.count), "n"], ["p50", (r) => duration(r.p50), "n"], ["p99", (r) => duration(r.p99), "n"]];
  const parts = [...told.timings, ...told.event_to_state.map((row) => ({ ...row, part: "event → state" }))].sort((a, b) => a.stage.localeCompare(b.stage) || a.part.localeCompare(b.part));
  table("timings", [["Stage", (r) => r.stage], ["Part", (r) => r.part], ...spread], parts, { none: "No frames in the last minute." });

  const feed = reds(told, "feed");
  table("feeds", [["Surface", (r) => r.surface], ...spread], told.feed.surfaces, { bad: (r) => feed.has(r.surface), none: "No feeds in the last minute." });
  table("degraded", [["Reason", (r) => r.reason], ["Rate", (r) => rate(r.rate), "n"], ["Seen", (r) => number(r.total), "n"]], told.feed.degraded, { bad: (r) => feed.has(r.reason), none: "No feed was degraded." });

  const dead = reds(told, "dead");
  table("dead", [["Reason", (r) => r.reason], ["Rate", (r) => rate(r.rate), "n"], ["Last hour", (r) => number(r.hour), "n"], ["Seen", (r) => number(r.total), "n"]], told.dead, { bad: (r) => dead.has(r.reason), none: "No dead letters." });

  $("shortfall").textContent = told.promise_shortfall ? `${number(told.promise_shortfall)} promised exposures are overdue` : "";
  table("pools", [
    ["Tier", (r) => `${r.tier} ${r.name ?? ""}`], ["Quota", (r) => number(r.quota), "n"], ["Notes now", (r) => number(r.notes), "n"], ["Exposures", (r) => number(r.exposures), "n"],
    ["Promoted", (r) => number(r.promoted), "n"], ["Held", (r) => number(r.held), "n"], ["Stopped", (r) => number(r.stopped), "n"], ["Overdue", (r) => number(r.owed), "n"],
  ], told.pools, { none: "No notes yet." });

  const { age_s, examples_rate, loss } = told.model;
  $("model-age").textContent = age_s === null ? "" : `learned ${duration(age_s)} ago, ${rate(examples_rate)} examples`;
  table("model", [["Action", (r) => r.action], ["Log loss", (r) => figure(r.logloss), "n"]], loss, { none: "No model is learned here: feeds use the prior." });

  const http = reds(told, "http");
  table("http", [["Route", (r) => r.route], ["Status", (r) => String(r.status), "n"], ["Rate", (r) => rate(r.rate), "n"], ["Seen", (r) => number(r.total), "n"]], lately(told.http).slice(0, 14), { bad: (r) => http.has(`${r.route} ${r.status}`), none: "No requests yet." });

  const faults = reds(told, "faults");
  table("faults", [["Fault", (r) => r.fault], ["Where", (r) => r.where ?? "–"], ["Rate", (r) => rate(r.rate), "n"], ["Ten minutes", (r) => number(r.recent), "n"], ["Seen", (r) => number(r.total), "n"]], told.faults,
    { bad: (r) => faults.has([r.fault, r.where].filter(Boolean).join(" ")), none: "None." });

  const workers = reds(told, "workers");
  const held = (r) => Object.entries(r.partitions).map(([stage, p]) => `${stage} ${ranges(p)}`).join(", ") || "none";
  table("workers", [
    ["Worker", (r) => `${r.host} ${r.pid}`], ["State", (r) => (r.alive ? (r.wrong ? `alive; metrics: ${r.wrong}` : "alive") : "gone")], ["Heard", (r) => `${duration(r.silent_s)} ago`, "n"],
    ["Up", (r) => duration(r.up_s), "n"], ["Release", (r) => r.release], ["Partitions", held, "wrap"],
  ], told.workers, { bad: (r) => workers.has(r.id), gone: (r) => !r.alive, none: "No worker said anything in the last ten minutes." });
}

/** 0–3, 7 */
function ranges(numbers) {
  const runs = [];
  for (const n of numbers) {
    if (runs.length && runs.at(-1)[1] === n - 1) runs.at(-1)[1] = n;
    else runs.push([n, n]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(" ") || "none";
}

// ------------------------------------------------------------------------------------------------------ again and again

function seen() {
  if (!last) return;
  const age = (performance.now() - lastAt) / 1000;
  $("seen").textContent = `Looked at ${Math.max(1, Math.round(age))} s ago; this process has been watching for ${duration(last.watching_s)}.`;
}

async function read() {
  try {
    const told = await ask("/ops/data");
    if (told.now !== last?.now) lastAt = performance.now();
    last = told;
    top(told);
    tiles(told);
    lag(told);
    rest(told);
  } catch (error) {
    $("state").textContent = error.code === "not_ready" ? "Looking …" : "The API does not answer";
    $("state").dataset.state = error.code === "not_ready" ? "" : "wrong";
    if (error.status >= 400 && error.code !== "not_ready") $("state").textContent = error.message;
  }
  seen();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => last && lag(last));
setInterval(seen, 1000);
for (;;) {
  if (document.visibilityState === "visible") await read();
  await pause(Math.max(1000, ((last?.sample_s ?? 2) * 1000) / 2));
}
