// What every picture shares: its element, its colours, numbers, and when to draw again.

// Okabe and Ito's colours, which the colour-blind can tell apart, lightened for dark pages.
const TONES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#a8507f", "#b07a00", "#3d8fc4", "#555555"],
  dark: ["#56b4e9", "#ff8a4c", "#2fcfa0", "#e593c0", "#f0c54a", "#9ad4f5", "#bbbbbb"],
};
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [5, 2], [1, 2], []];
const FONT = '12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif';

const make = (name, parent, settings = {}) => {
  const element = Object.assign(document.createElement(name), settings);
  parent?.append(element);
  return element;
};

// Bytes from Python, as float32 numbers.
const floats = (view) =>
  view ? new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)) : new Float32Array(0);

const GROUPED = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const MINUS = (text) => text.replace("-", "−");
function written(value, digits = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return MINUS(GROUPED.format(value));
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const [mantissa, power] = value.toExponential(Math.max(0, digits - 2)).split("e");
    const superscript = [...String(Number(power))].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
    const front = String(Number(mantissa));
    return MINUS(front === "1" ? "" : front === "-1" ? "-" : `${front}·`) + `10${superscript}`;
  }
  return MINUS(String(Number(value.toPrecision(digits))));
}

// The colours of the page around the element: of its text, and whether it is a dark page.
function theme(element) {
  const probe = new OffscreenCanvas(1, 1).getContext("2d");
  probe.fillStyle = getComputedStyle(element).color;
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const dark = 0.3 * red + 0.6 * green + 0.1 * blue > 128;
  const ink = (alpha) => `rgba(${red}, ${green}, ${blue}, ${alpha})`;
  const tones = TONES[dark ? "dark" : "light"];
  return { dark, ink, tone: (index) => tones[index % tones.length] };
}

// A canvas as wide as its place, drawn again when its size or the page's colours change.
function sheet(parent, height, draw) {
  const canvas = make("canvas", parent, { className: "sheet" });
  const context = canvas.getContext("2d");
  let asked = false;
  const paint = () => {
    asked = false;
    const width = canvas.clientWidth, tall = height(width), ratio = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.style.height = `${tall}px`;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, tall);
    context.font = FONT;
    draw(context, width, tall, theme(parent));
  };
  const again = () => {
    if (!asked) requestAnimationFrame(paint);
    asked = true;
  };
  const sizes = new ResizeObserver(again);
  sizes.observe(canvas);
  const classes = new MutationObserver(again);
  for (const element of [document.documentElement, document.body])
    classes.observe(element, { attributes: true, attributeFilter: ["class", "data-theme"] });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", again);
  const end = () => {
    sizes.disconnect();
    classes.disconnect();
    system.removeEventListener("change", again);
  };
  again();
  return { canvas, again, end };
}
