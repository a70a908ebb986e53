// Covers for notes without a picture: a gradient and waves, always the same for the same note, akin within a channel.

import { svg } from "./page.js";

/** FNV-1a, 32 bits: spreads ids that differ in one digit. */
export function hash(text) {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    h ^= text.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return (h ^ (h >>> 12)) >>> 0;
}

/** A sine over the cover's width, filled down to its foot. */
function wave(height, swell, length, phase) {
  const points = [];
  for (let x = 0; x <= 240; x += 12) points.push(`${x} ${(height + swell * Math.sin(phase + (x / length) * 2 * Math.PI)).toFixed(1)}`);
  return `M0 320 L${points.join(" L")} L240 320 Z`;
}

let made = 0;

/** The picture of a note; decoration, since the title stands over it as text. */
export function cover(noteId, channel) {
  const h = hash(noteId);
  const family = hash(channel || noteId) % 360;
  const hue = (family + ((h % 61) - 30) + 360) % 360;
  const other = (hue + 28 + ((h >>> 6) % 34)) % 360;
  const id = `cover-${++made}`;
  const stop = (offset, color) => svg("stop", { offset, "stop-color": color });
  const turn = ((h >>> 12) % 60) - 30;
  const phase = ((h >>> 18) % 628) / 100;
  const length = 150 + ((h >>> 9) % 150);
  const layers = [0, 1, 2].map((i) =>
    svg("path", {
      d: wave(196 + i * 34 - ((h >>> 21) % 22), 11 + ((h >>> (3 + i * 3)) % 9), length + i * 34, phase + i * 1.7),
      fill: `oklch(${0.66 - i * 0.08} 0.115 ${other})`,
      "fill-opacity": 0.32 + i * 0.1,
    }));
  return {
    hue,
    picture: svg("svg", { viewBox: "0 0 240 320", preserveAspectRatio: "xMidYMax slice", "aria-hidden": "true", focusable: "false" },
      svg("defs", {}, svg("linearGradient", { id, gradientTransform: `rotate(${60 + turn} 0.5 0.5)` },
        stop("0", `oklch(0.94 0.05 ${hue})`), stop("1", `oklch(0.8 0.1 ${other})`))),
      svg("rect", { width: 240, height: 320, fill: `url(#${id})` }),
      layers),
  };
}
