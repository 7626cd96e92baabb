// Draws the pictures of an exported lesson, each from the state that it had.
const decoded = (value) => {
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.bytes === "string")
    return new DataView(Uint8Array.from(atob(value.bytes), (c) => c.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, decoded(each)]));
};
const inBase64 = (text) => {
  let bytes = "";
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte);
  return btoa(bytes);
};
const programs = LESSON.programs.map((text) => import(`data:text/javascript;base64,${inBase64(text)}`));
for (const place of document.querySelectorAll("[data-picture]")) {
  const { kind, state } = LESSON.pictures[Number(place.dataset.picture)];
  const known = decoded(state);
  const model = { get: (name) => known[name], on() {}, off() {}, send() {}, still: true };
  const root = place.attachShadow({ mode: "open" });
  root.append(Object.assign(document.createElement("style"), { textContent: LESSON.style }));
  const el = root.appendChild(document.createElement("div"));
  programs[kind].then((program) => program.default.render({ model, el }));
}
