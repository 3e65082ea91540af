// Rows for few-shot examples, and last for the question: each has pictures or videos, and a text about them.
// A row has a key that stays when it is moved, or when the page adds another.
const rows = element.querySelector("[data-part=rows]"), said = element.querySelector("[data-part=said]");
const add = element.querySelector("[data-part=add]"), VIDEO = /\.(mp4|webm|mov|mkv|avi)$/i;
const fresh = () => ({key: Math.random().toString(36).slice(2), text: "", files: []});
const value = () => props.value ?? [], fieldsets = () => [...rows.querySelectorAll("fieldset")];
let shown = [];

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

const changed_in = (key, change) => value().map(row => (row.key === key ? {...row, ...change} : row));

function thumbnail(file, place, {key, files}, of) {
  const item = document.createElement("li"), moves = VIDEO.test(file.path);
  const medium = document.createElement(moves ? "video" : "img");
  medium.src = file.url;
  if (moves) Object.assign(medium, {muted: true, autoplay: true, loop: true, playsInline: true});
  const named = `${moves ? "video" : "picture"} of ${of}`;
  medium[moves ? "ariaLabel" : "alt"] = named;
  const others = files.filter((_, other) => other !== place);
  item.append(medium, button("×", "Remove file", () => set(changed_in(key, {files: others}))));
  return item;
}

async function send(key, files) {
  for (const file of files) {
    said.textContent = `Sending ${file.name} …`;
    try {
      const {path, url} = await upload(file);
      const kept = {path, url, orig_name: file.name, mime_type: file.type, meta: {_type: "gradio.FileData"}};
      const row = value().find(row => row.key === key);
      if (!row) return said.textContent = `${file.name} was left out: its row is no longer there.`;
      set(changed_in(key, {files: [...row.files, kept]}));
      said.textContent = "";
    } catch (error) {
      said.textContent = `${file.name} was not taken: ${error.message}`;
    }
  }
}

function drawn(row, place, all) {
  const last = place === all.length - 1, name = last ? "The question" : `Example ${place + 1}`;
  const made = document.createElement("fieldset"), legend = document.createElement("legend");
  made.dataset.key = row.key;
  legend.textContent = name;
  const media = document.createElement("ul");
  media.append(...row.files.map((file, at) => thumbnail(file, at, row, name)));
  const input = Object.assign(document.createElement("input"), {
    type: "file", accept: "image/*,video/*", multiple: true, hidden: true, ariaLabel: `Files of ${name}`,
  });
  input.addEventListener("change", () => send(row.key, [...input.files]));
  const text = Object.assign(document.createElement("textarea"), {
    rows: 1, value: row.text, placeholder: last ? "(if left empty: what is this?)" : "for example: dax", ariaLabel: `Words of ${name}`,
  });
  text.addEventListener("input", () => {
    shown = changed_in(row.key, {text: text.value});
    props.value = shown;  // does not redraw the row, in which the visitor is typing
  });
  const tools = document.createElement("div");
  const add_one = row.files.length ? "Another picture" : "Add a picture";
  tools.append(button(add_one, `Add a picture or video to ${name}`, () => input.click()));
  if (!last) {
    if (place) tools.append(button("Up", `Move ${name} up`, () => swapped(place, place - 1)));
    if (place < all.length - 2) tools.append(button("Down", `Move ${name} down`, () => swapped(place, place + 1)));
    tools.append(button("Remove", `Remove ${name}`, () => set(value().filter(other => other.key !== row.key))));
  }
  made.append(legend, media, input, text, tools);
  return made;
}

function show() {
  const all = value();
  if (JSON.stringify(all) === JSON.stringify(shown)) return;
  const before = fieldsets(), written = before.find(row => row.contains(document.activeElement));
  shown = all;
  const made = all.map(drawn);
  rows.replaceChildren(...made.slice(0, -1), add, ...made.slice(-1));  // what is added stands before the question
  const same = made.find(row => row.dataset.key === written?.dataset.key);
  (same ?? made[before.indexOf(written)])?.querySelector("textarea").focus({preventScroll: true});
}

add.addEventListener("click", () => {
  const all = value();
  if (all.length > props.most) said.textContent = `There are ${props.most} examples, and no more fit; remove one.`;
  else set([...all.slice(0, -1), fresh(), all.at(-1)]);
});
watch("value", show);
show();
