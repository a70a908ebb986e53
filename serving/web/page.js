// What both pages need: elements without markup in strings, and calls of the API with a key where one is asked for.

const SVG = "http://www.w3.org/2000/svg";
const KEY = "upwell-key";

/** An element. `attributes` with a function are listeners; children are nodes or text; null is left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for pictures. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const $ = (id) => document.getElementById(id);

/** An answer that is an error: `message` is for people. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Calls the API; asks for a key when it wants one, and again a moment later when it has too much at once. Throws `Refused`. */
export async function ask(path, { method = "GET", body, keepalive = false } = {}) {
  for (let patience = 3; ; ) {
    const headers = {};
    const key = sessionStorage.getItem(KEY);
    if (key) headers["X-API-Key"] = key;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), keepalive, cache: "no-store" });
    } catch {
      throw new Refused(0, "away", "The API does not answer.");
    }
    if ((answer.status === 401 || answer.status === 403) && !keepalive) {
      await askForKey(Boolean(key));
      continue;
    }
    const told = await answer.json().catch(() => ({}));
    if (told.code === "overloaded" && !keepalive && patience-- > 0) {
      await pause(200 + 600 * Math.random());
      continue;
    }
    if (!answer.ok) throw new Refused(answer.status, told.code ?? "", told.detail ?? told.rejected?.[0]?.message ?? `The API answered ${answer.status}.`);
    return told;
  }
}

let asking = null;

/** One dialog, however many calls wait for it. The key stays in this tab. */
function askForKey(wrong) {
  asking ??= new Promise((done) => {
    const field = el("input", { id: "key", type: "password", autocomplete: "off", required: true });
    const form = el("form", { method: "dialog" },
      el("h2", {}, "This API wants a key"),
      el("p", { class: "soft small" }, wrong ? "The key was not accepted." : "It is kept in this tab and sent as X-API-Key."),
      el("label", { for: "key" }, "Key", field),
      el("div", { class: "row" }, el("button", { class: "main" }, "Go on")));
    const dialog = el("dialog", { "aria-label": "API key", cancel: (event) => event.preventDefault() }, form);
    form.addEventListener("submit", () => {
      sessionStorage.setItem(KEY, field.value.trim());
      dialog.remove();
      asking = null;
      done();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const whole = new Intl.NumberFormat("en");

/** 12,345 */
export const count = (n) => whole.format(Math.round(n));

/** A number with as many digits as say something. */
export function figure(x) {
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size >= 100) return count(x);
  if (size >= 10) return x.toFixed(1);
  if (size >= 1) return x.toFixed(2);
  return x.toFixed(3).replace(/0+$/, "").replace(/\.$/, "");
}

/** Seconds for people: 3 ms, 1.2 s, 4 min, 2 h. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0005) return seconds === 0 ? "0 s" : "<1 ms";
  if (seconds < 1) return seconds < 0.01 ? `${(seconds * 1000).toFixed(1)} ms` : `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** Whether movements are wanted. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
