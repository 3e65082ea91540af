// A component for a visitor's pictures and videos: chosen, dropped, pasted, from the camera, or drawn.
const at = name => element.querySelector(`[data-part="${name}"]`);
const list = at("kept"), said = at("said"), camera = at("camera"), pad = at("pad");
const LEADING_MS = 10_000, VIDEO = /^video\//, MEDIUM = /^(image|video)\//;

// the list of files

function set(files) {
  props.value = files;
  show();
}

function show() {
  const files = props.value ?? [];
  list.replaceChildren(...files.map(thumbnail));
  list.hidden = !files.length;
  said.textContent = files.length ? props.next : "";
}

function lead_on() {
  const ask = document.getElementById(props.ask)?.getBoundingClientRect();
  if (!ask || ask.bottom <= innerHeight && element.getBoundingClientRect().top >= 0) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({block: "start", behavior: calm ? "instant" : "smooth"});
}

function thumbnail(file, place) {
  const item = document.createElement("li"), remove = document.createElement("button");
  const moves = VIDEO.test(file.mime_type ?? "") || /\.(mp4|webm|mov|mkv|avi)$/i.test(file.path);
  const shown = document.createElement(moves ? "video" : "img");
  const named = `${moves ? "video" : "picture"} ${place + 1}`;
  shown.src = file.url;
  if (moves) {
    Object.assign(shown, {muted: true, autoplay: true, loop: true, playsInline: true});
    shown.setAttribute("aria-label", named);
  } else shown.alt = named;
  shown.addEventListener("error", () => shown.replaceWith(file.orig_name ?? named));  // browsers cannot show this format
  remove.type = "button";
  remove.textContent = "×";
  remove.setAttribute("aria-label", `Remove file: ${named}`);
  remove.addEventListener("click", () => set((props.value ?? []).filter((_, other) => other !== place)));
  item.append(shown, remove);
  return item;
}

async function add(files) {
  const refused = [], before = (props.value ?? []).length;
  for (const file of files) {
    said.textContent = `Sending ${file.name} …`;
    try {
      const {path, url} = await upload(file);
      const kept = {path, url, orig_name: file.name, mime_type: file.type, meta: {_type: "gradio.FileData"}};
      set([...(props.value ?? []), kept]);
    } catch (error) {
      refused.push(`${file.name} was not taken: ${error.message}`);
    }
  }
  if (refused.length) said.textContent = refused.join(" ");
  if ((props.value ?? []).length > before) keep_leading();
}

// suggestions come later and may take more lines, until the visitor scrolls or presses something
function keep_leading() {
  const box = document.getElementById(props.around), moved = new AbortController();
  const grown = new ResizeObserver(lead_on);
  grown.observe(box ?? element);
  const stop = () => {
    grown.disconnect();
    moved.abort();
  };
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(kind, stop, {signal: moved.signal});
  setTimeout(stop, LEADING_MS);
  lead_on();
}

watch("value", show);
show();

// files that turned out to be none leave the list as it is then: others may have come meanwhile
watch("refused", () => {
  const files = props.value ?? [], left = files.filter(file => !props.refused.includes(file.path));
  if (left.length < files.length) set(left);
});

const input = at("input");
at("choose").addEventListener("click", () => input.click());
input.addEventListener("change", async () => {
  await add([...input.files]);
  input.value = "";
});

const around = document.getElementById(props.around) ?? element;
const media = carried => [...(carried?.files ?? [])].filter(file => MEDIUM.test(file.type) || !file.type);
around.addEventListener("dragover", event => {
  event.preventDefault();
  around.classList.add("dropping");
});
around.addEventListener("dragleave", () => around.classList.remove("dropping"));
around.addEventListener("drop", event => {
  event.preventDefault();
  around.classList.remove("dropping");
  add(media(event.dataTransfer));
});
around.addEventListener("paste", event => {
  const files = media(event.clipboardData);
  if (files.length) {
    event.preventDefault();
    add(files);
  }
});

// the camera

const live = at("live"), photo = at("photo"), record = at("record");
const PART_MS = 200;  // a recording comes in parts of this length
let recorder = null;

function close_camera() {
  recorder?.state === "recording" && recorder.stop();
  live.srcObject?.getTracks().forEach(track => track.stop());
  live.srcObject = null;
  camera.hidden = true;
}

at("open-camera").addEventListener("click", async () => {
  if (!camera.hidden) return close_camera();
  pad.hidden = true;
  photo.disabled = record.disabled = true;
  try {
    live.srcObject = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
    camera.hidden = false;
    camera.scrollIntoView({block: "nearest"});
    said.textContent = "";
    await live.play();
  } catch (error) {
    said.textContent = `The camera cannot be used here: ${error.message}`;
  }
});
at("close-camera").addEventListener("click", close_camera);
live.addEventListener("loadeddata", () => photo.disabled = record.disabled = false);  // the first picture is there
photo.addEventListener("click", () => {
  const shot = document.createElement("canvas");
  [shot.width, shot.height] = [live.videoWidth, live.videoHeight];
  shot.getContext("2d").drawImage(live, 0, 0);
  shot.toBlob(blob => add([new File([blob], "photo.jpg", {type: "image/jpeg"})]), "image/jpeg", 0.92);
  close_camera();
});
record.addEventListener("click", () => {
  if (recorder?.state === "recording") return recorder.stop();
  const parts = [];
  const kind = ["video/webm", "video/mp4"].find(one => MediaRecorder.isTypeSupported(one));
  recorder = new MediaRecorder(live.srcObject, {mimeType: kind});
  recorder.addEventListener("dataavailable", event => {
    if (!event.data.size) return;
    parts.push(event.data);
    record.disabled = false;  // what is stopped before the first frame is a file that nobody can read
  });
  recorder.addEventListener("stop", () => {
    record.textContent = "Record a video";
    record.disabled = false;
    if (parts.length) add([new File(parts, `video.${kind.split("/")[1]}`, {type: kind})]);
    else said.textContent = "The camera was closed before its first picture came: nothing was recorded.";
    close_camera();
  });
  recorder.start(PART_MS);
  record.textContent = "Stop recording";
  record.disabled = true;
  const started = recorder;  // another recording may run when the time of this one is up
  setTimeout(() => started.state === "recording" && started.stop(), 1000 * props.seconds);
});

// the drawing pad

const canvas = at("canvas"), pen = canvas.getContext("2d"), colours = at("colours");
let ink = props.inks[0], before = [];

function blank() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

function remember() {
  before = [...before.slice(-30), pen.getImageData(0, 0, canvas.width, canvas.height)];
}

function place_of(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

function dot_to(event) {
  pen.lineTo(...place_of(event));
  pen.stroke();
}

blank();
for (const [name, colour] of props.inks.map(one => one)) {
  const swatch = document.createElement("button");
  swatch.type = "button";
  swatch.style.background = colour;
  swatch.setAttribute("aria-label", name);
  swatch.setAttribute("aria-pressed", String(name === ink[0]));
  swatch.addEventListener("click", () => {
    ink = [name, colour];
    for (const other of colours.children) other.setAttribute("aria-pressed", String(other === swatch));
  });
  colours.append(swatch);
}
canvas.addEventListener("pointerdown", event => {
  remember();
  canvas.setPointerCapture(event.pointerId);
  Object.assign(pen, {strokeStyle: ink[1], lineWidth: Number(at("width").value), lineCap: "round", lineJoin: "round"});
  pen.beginPath();
  pen.moveTo(...place_of(event));
  dot_to(event);
});
canvas.addEventListener("pointermove", event => event.buttons && canvas.hasPointerCapture(event.pointerId) && dot_to(event));
at("fill").addEventListener("click", () => {
  remember();
  const seen = pen.getImageData(0, 0, canvas.width, canvas.height), rgb = document.createElement("canvas").getContext("2d");
  rgb.fillStyle = ink[1];
  rgb.fillRect(0, 0, 1, 1);
  const [red, green, blue] = rgb.getImageData(0, 0, 1, 1).data, [r, g, b] = seen.data;  // fills all pixels that have the colour of the corner
  for (let i = 0; i < seen.data.length; i += 4) {
    if (seen.data[i] === r && seen.data[i + 1] === g && seen.data[i + 2] === b) seen.data.set([red, green, blue], i);
  }
  pen.putImageData(seen, 0, 0);
});
at("undo").addEventListener("click", () => before.length && pen.putImageData(before.pop(), 0, 0));
at("clear").addEventListener("click", () => {
  remember();
  blank();
});
at("open-pad").addEventListener("click", () => {
  close_camera();
  said.textContent = props.value?.length ? props.next : "";
  pad.hidden = !pad.hidden;
  if (!pad.hidden) pad.scrollIntoView({block: "nearest"});
});
at("use").addEventListener("click", () => {
  canvas.toBlob(blob => add([new File([blob], "drawing.png", {type: "image/png"})]), "image/png");
  pad.hidden = true;
});
