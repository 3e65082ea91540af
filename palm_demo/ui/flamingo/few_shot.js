// Rows for few-shot examples, and last for the question: each has pictures or videos, and a text about them.
const rows = element.querySelector("[data-part=rows]"), said = element.querySelector("[data-part=said]");
const add = element.querySelector("[data-part=add]"), VIDEO = /\.(mp4|webm|mov|mkv|avi)$/i;
const fresh = () => ({text: "", files: []});
let shown = [];

function value() {
  const kept = props.value ?? [];
  return kept.length > 1 ? kept : [fresh(), fresh()];
}

function set(changed) {
  props.value = changed;
  show();
}

function button(words, label, act) {
  const made = document.createElement("button");
  Object.assign(made, {type: "button", textContent: words});
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function swapped(place, other) {
  const changed = [...value()];
  [changed[place], changed[other]] = [changed[other], changed[place]];
  set(changed);
}

const altered = (place, change) => set(value().map((row, other) => (other === place ? {...row, ...change} : row)));

function thumbnail(file, place, files, of) {
  const item = document.createElement("li"), moves = VIDEO.test(file.path);
  const medium = document.createElement(moves ? "video" : "img");
  medium.src = file.url;
  if (moves) Object.assign(medium, {muted: true, autoplay: true, loop: true, playsInline: true});
  const named = `${moves ? "video" : "picture"} of ${of}`;
  medium[moves ? "ariaLabel" : "alt"] = named;
  const others = files.filter((_, other) => other !== place);
  item.append(medium, button("×", "Remove file", event => altered(row_of(event.target), {files: others})));
  return item;
}

const row_of = inside => [...rows.children].indexOf(inside.closest("fieldset"));

async function send(place, files) {
  for (const file of files) {
    said.textContent = `Sending ${file.name} …`;
    try {
      const {path, url} = await upload(file);
      const kept = {path, url, orig_name: file.name, mime_type: file.type, meta: {_type: "gradio.FileData"}};
      altered(place, {files: [...value()[place].files, kept]});
      said.textContent = "";
    } catch (error) {
      said.textContent = `${file.name} was not taken: ${error.message}`;
    }
  }
}

function drawn(row, place, all) {
  const last = place === all.length - 1, name = last ? "The question" : `Example ${place + 1}`;
  const made = document.createElement("fieldset"), legend = document.createElement("legend");
  legend.textContent = name;
  const media = document.createElement("ul");
  media.append(...row.files.map((file, at) => thumbnail(file, at, row.files, name)));
  const input = Object.assign(document.createElement("input"), {
    type: "file", accept: "image/*,video/*", multiple: true, hidden: true, ariaLabel: `Files of ${name}`,
  });
  input.addEventListener("change", () => send(place, [...input.files]));
  const text = Object.assign(document.createElement("textarea"), {
    rows: 1, value: row.text, placeholder: last ? "this is a" : "this is a dax.", ariaLabel: `Words of ${name}`,
  });
  text.addEventListener("input", () => {
    const at = row_of(text);
    shown = value().map((row, other) => (other === at ? {...row, text: text.value} : row));
    props.value = shown;  // does not redraw the row, in which the visitor is typing
  });
  const tools = document.createElement("div");
  tools.append(button("Add a picture", `Add a picture or video to ${name}`, () => input.click()));
  if (!last) {
    if (place) tools.append(button("Up", `Move ${name} up`, () => swapped(place, place - 1)));
    if (place < all.length - 2) tools.append(button("Down", `Move ${name} down`, () => swapped(place, place + 1)));
    tools.append(button("Remove", `Remove ${name}`, () => set(value().filter((_, other) => other !== place))));
  }
  made.append(legend, media, input, text, tools);
  return made;
}

function show() {
  const all = value();
  if (JSON.stringify(all) === JSON.stringify(shown)) return;
  const written = rows.contains(document.activeElement) ? row_of(document.activeElement) : -1;
  shown = all;
  rows.replaceChildren(...all.map(drawn));
  rows.children[written]?.querySelector("textarea").focus({preventScroll: true});
}

add.addEventListener("click", () => {
  const all = value();
  if (all.length > props.most) said.textContent = `There are ${props.most} examples, and no more fit; remove one.`;
  else set([...all.slice(0, -1), fresh(), all.at(-1)]);
});
watch("value", show);
show();
