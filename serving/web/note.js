// One note: where it stands in the pools, the evidence, and why it is in this feed.

import { count, duration, el, figure } from "./page.js";

const WORDS = {
  follow: (r) => `You follow ${r.author_id}`,
  interest_tag: (r) => `Because you like ${r.tag}`,
  interest_author: (r) => `More from ${r.author_id}`,
  interest_channel: (r) => `You like ${r.channel}`,
  signup_tag: (r) => `You chose ${r.tag}`,
  channel: (r) => `Popular in ${r.channel}`,
  friend: (r) => `${r.user_id} ${{ like: "liked", collect: "collected", share: "shared" }[r.action] ?? "found"} this`,
  behaviour: () => "Like what you took lately",
  similar: () => "Taken together with that note",
  nearby: (r) => (r.city ? `In ${r.city}` : r.distance_m < 950 ? `${Math.round(r.distance_m)} m away` : `${Math.round(r.distance_m / 1000)} km away`),
  pool: (r) => (r.tier ? "On its way up" : "New here"),
  hot: () => "Popular now",
  sponsored: () => "Sponsored",
};

/** A reason in words; an unknown code as it is. */
export const reason = (r) => (WORDS[r.code] ?? (() => r.code.replaceAll("_", " ")))(r);

const percent = (p) => `${p >= 0.1 ? Math.round(p * 100) : (p * 100).toFixed(p >= 0.01 ? 1 : 2)} %`;

/** Pool, evidence and history. */
export function pool(note, tiers) {
  const { tier, state, quota, left } = note.pool;
  const used = Math.max(0, quota - left);
  const place = tier === null ? "Outside of the pools." : state === "running"
    ? `In tier ${tiers[tier]?.name ?? tier}: ${count(used)} of ${count(quota)} exposures given, ${count(left)} left.`
    : `Tier ${tiers[tier]?.name ?? tier}, ${state}.`;
  const most = Math.max(note.quality.high, 1e-9) * 1.08;
  const range = el("div", { class: "range", "aria-hidden": "true" }, el("i"), el("b"));
  for (const [name, value] of [["--from", note.quality.low], ["--to", note.quality.high], ["--at", note.quality.mean]]) range.style.setProperty(name, `${((value / most) * 100).toFixed(1)}%`);
  const fact = (name, n) => el("div", {}, el("dt", {}, name), el("dd", {}, count(n)));
  return [
    el("h3", {}, "Traffic pool"),
    el("ol", { class: "ladder" }, tiers.map((one, i) => el("li", { class: tier !== null && i < tier ? "passed" : null, "aria-current": i === tier ? "step" : null }, one.name))),
    el("p", { class: "small" }, place),
    el("h3", {}, "Evidence"),
    el("dl", { class: "facts" }, fact("shown", note.counts.impression), fact("opened", note.counts.click), fact("liked", note.counts.like), fact("collected", note.counts.collect)),
    el("p", { class: "small number" }, `Worth ${figure(note.quality.mean)} points an exposure, between ${figure(note.quality.low)} and ${figure(note.quality.high)} (90 %)`),
    range,
    el("h3", {}, "History"),
    note.history.length ? el("ol", { class: "history" }, [...note.history].reverse().map((move) => moveRow(move, tiers))) : el("p", { class: "soft small" }, "No moves yet."),
  ];
}

function moveRow(move, tiers) {
  const name = (tier) => (tier === null ? "outside" : tiers[tier]?.name ?? `tier ${tier}`);
  const { exposures, ...rest } = move.evidence;
  const counts = rest.counts ?? rest.observed ?? {};
  const actions = Object.entries(counts).filter(([, n]) => typeof n === "number" && n > 0).map(([action, n]) => `${count(n)} ${action}`);
  const chances = move.bar.value ? [`${percent(rest.probability)} sure to be worth more than ${figure(move.bar.value)} an exposure`] : [];
  const evidence = [exposures ? `${count(exposures)} exposures` : null, ...actions, ...chances].filter(Boolean).join(", ");
  const age = Math.max(0, (Date.now() - Date.parse(move.at)) / 1000);
  return el("li", {},
    el("b", {}, move.from === null ? `entered ${name(move.to)}` : move.from === move.to ? `${move.verdict} in ${name(move.to)}` : `${name(move.from)} → ${name(move.to)}, ${move.verdict}`),
    el("span", { class: "soft" }, ` ${duration(age)} ago`),
    evidence ? el("div", { class: "soft" }, evidence) : null);
}

/** What diversity and slots did, in words. */
function shifted(moved) {
  const told = Object.entries(moved ?? {}).filter(([, places]) => places);
  return told.map(([by, places]) => `; ${by} moved it ${Math.abs(places)} ${places > 0 ? "up" : "down"}`).join("");
}

/** Why this: reasons, what the score is made of, what is expected. */
export function contributions(item) {
  const told = item.explain;
  const heading = el("h3", {}, "Why this");
  const reasons = el("ul", { class: "reasons" }, item.reasons.map((one) => el("li", {}, reason(one))));
  if (!told?.contributions) return [heading, reasons];
  const parts = Object.entries(told.contributions).filter(([, value]) => Math.abs(value) >= 0.0005).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const scale = Math.max(...parts.map(([, value]) => Math.abs(value)), 1e-9);
  const expected = ["click", "like", "collect", "hide"].filter((action) => told.predictions?.[action] !== undefined);
  return [
    heading,
    reasons,
    el("ul", { class: "parts", "aria-label": "What the score is made of" }, parts.map(([name, value]) => {
      const bar = el("i");
      bar.style.setProperty("--at", ((value / scale)).toFixed(4));
      return el("li", { class: value < 0 ? "part below" : "part" }, el("span", {}, name), el("span", { class: "track", "aria-hidden": "true" }, bar),
        el("span", { class: "value" }, `${value < 0 ? "−" : "+"}${figure(Math.abs(value))}`));
    })),
    el("p", { class: "soft small" }, `Score ${figure(item.score).replace("-", "−")}${told.rank === undefined ? "" : `, place ${told.rank + 1} among the candidates`}${shifted(told.moved)}. Brought by ${told.sources.join(", ") || "nobody"}; place given as ${told.slot}${told.propensity < 1 ? ` with probability ${percent(told.propensity)}` : ""}.`),
    expected.length ? el("p", { class: "soft small" }, `Expected: ${expected.map((action) => `${action} ${percent(told.predictions[action])}`).join(", ")}.`) : null,
  ].filter(Boolean);
}
