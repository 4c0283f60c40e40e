// The page for photos: collects them, asks /v1/compare, and says what came back. It keeps nothing.
"use strict";

const byId = (id) => document.getElementById(id);
const TRIES = 4;
const FORM_BYTES = 1e5; // of a request, what is not photos
let limits = { photos: 12, photo_bytes: 25e6, request_bytes: 60e6 };
let photos = [null, null]; // File or null, oldest first
let answer = null;
let asking = null; // the request in work, as its AbortController
let target = 0; // the place that the camera fills
let stream = null;

// --- elements -------------------------------------------------------------------------------------------------------
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "line", "circle", "polyline", "text"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const titleOf = (index) => {
  if (photos.length === 2) return ["Before", "After"][index];
  return `Photo ${index + 1}` + (index === 0 ? " (oldest)" : index === photos.length - 1 ? " (latest)" : "");
};

function say(text, busy = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("busy", busy);
}

function complain(text) {
  byId("alert").replaceChildren(...(text ? [make("div", { class: "alert" }, make("p", {}, text))] : []));
}

// --- photos ---------------------------------------------------------------------------------------------------------
function drawSlots() {
  const list = byId("slots");
  const held = document.activeElement.closest?.(".slot button"), where = held?.closest(".slot").dataset.index;
  list.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  list.classList.toggle("two", photos.length === 2);
  list.replaceChildren(...photos.map((photo, index) => slotFor(photo, index)));
  if (held) focusOn(where, held.dataset.do);  // the buttons are new; whoever uses the keyboard stays where they were
  byId("add").disabled = photos.length >= limits.photos;
  byId("swap").hidden = photos.length !== 2;
  byId("clear").disabled = photos.length === 2 && photos.every((photo) => !photo);
  const ready = photos.filter(Boolean).length;
  byId("compare").disabled = ready < 2 || Boolean(asking);
  byId("compare").textContent = ready > 2 ? `Compare ${ready} photos` : "Compare";
}

function slotFor(photo, index) {
  const slot = byId("slot").content.cloneNode(true).firstElementChild;
  const image = slot.querySelector("img"), title = titleOf(index), input = slot.querySelector("input");
  slot.querySelector("h3").textContent = title;
  slot.dataset.index = index;
  for (const button of slot.querySelectorAll("button")) {
    const words = { choose: photo ? "Replace" : "Choose", camera: "Camera", remove: "Remove" };
    button.textContent = words[button.dataset.do];
    button.setAttribute("aria-label", `${words[button.dataset.do]}: ${title}`);
    if (button.dataset.do === "remove") button.hidden = !photo && photos.length === 2;
  }
  input.setAttribute("aria-label", `File for ${title}`);
  input.addEventListener("change", () => take([...input.files], index));
  slot.classList.toggle("filled", Boolean(photo));
  if (photo) {
    slot.querySelector(".name").textContent = photo.name;
    slot.querySelector(".name").title = photo.name;
    image.alt = `Preview: ${title}`;
    image.addEventListener("load", () => (slot.querySelector(".empty").textContent = ""));
    image.addEventListener("error", () => {
      image.hidden = true;
      slot.querySelector(".empty").textContent = "This browser shows no preview of this format. It can be compared.";
    });
    image.hidden = false;
    image.src = URL.createObjectURL(photo);
  }
  return slot;
}

function take(files, from) {
  const images = files.filter((file) => !file.type || file.type.startsWith("image/"));
  complain("");
  if (images.length < files.length) complain("A file that is not an image was left out. Use JPEG, PNG, WEBP, HEIC, AVIF or TIFF.");
  let place = from, taken = 0;
  for (const file of images) {
    if (file.size > limits.photo_bytes) {
      complain(`A photo has more than ${Math.round(limits.photo_bytes / 1e6)} MB, the limit. Save it smaller.`);
      continue;
    }
    if (taken > 0 || place === null) place = photos.indexOf(null);
    if (place === -1 && photos.length < limits.photos) place = photos.push(null) - 1;
    if (place === -1) {
      complain(`At most ${limits.photos} photos can be compared at a time.`);
      break;
    }
    photos[place] = file;
    taken += 1;
  }
  if (!taken) return;
  drawSlots();
  hideResult();
  const ready = photos.filter(Boolean).length;
  say(ready < 2 ? "One photo is here. Add one more of the same person." : `${ready} photos are here. Press Compare.`);
}

function focusOn(index, what) {
  document.querySelector(`.slot[data-index="${index}"] button[data-do="${what}"]`)?.focus();
}

byId("slots").addEventListener("click", (event) => {
  const button = event.target.closest("button"), slot = event.target.closest(".slot");
  if (!slot) return;
  const index = Number(slot.dataset.index);
  if (button?.dataset.do === "remove") {
    if (photos.length > 2) photos.splice(index, 1);
    else photos[index] = null;
    drawSlots();
    hideResult();
    say("The photo was removed.");
    focusOn(Math.min(index, photos.length - 1), "choose");
  } else if (button?.dataset.do === "camera") openCamera(index);
  else if (button || event.target.closest(".frame")) slot.querySelector("input").click();
});

byId("add").addEventListener("click", () => {
  photos.push(null);
  drawSlots();
  focusOn(photos.length - 1, "choose");
  say(`A place for photo ${photos.length} was added. Photos are in the order of time.`);
});
byId("swap").addEventListener("click", () => {
  photos.reverse();
  drawSlots();
  hideResult();
  say("Before and after were swapped.");
});
byId("clear").addEventListener("click", () => {
  photos = [null, null];
  drawSlots();
  hideResult();
  complain("");
  say("All photos were removed.");
  focusOn(0, "choose");
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.querySelectorAll(".over").forEach((slot) => slot.classList.remove("over"));
    event.target.closest?.(".slot")?.classList.add("over");
  });
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.querySelectorAll(".over").forEach((slot) => slot.classList.remove("over"));
  const slot = event.target.closest?.(".slot");
  take([...event.dataTransfer.files], slot ? Number(slot.dataset.index) : null);
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) take(files, null);
});

// --- camera ---------------------------------------------------------------------------------------------------------
async function openCamera(index) {
  target = index;
  byId("camera").showModal();
  byId("shoot").disabled = true;
  byId("camera-status").textContent = "Starting the camera …";
  try {
    const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    if (!byId("camera").open || stream) return opened.getTracks().forEach((track) => track.stop()); // cancelled meanwhile
    stream = opened;
    byId("video").srcObject = stream;
    await byId("video").play();
    byId("shoot").disabled = false;
    byId("camera-status").textContent = "Look into the camera, upright and in even light.";
  } catch {
    byId("camera-status").textContent = window.isSecureContext
      ? "There is no camera, or the browser may not use it. Allow it, or choose a file."
      : "A browser gives the camera only to pages from https:// or from this machine. Choose a file.";
  }
}
byId("shoot").addEventListener("click", () => {
  const video = byId("video"), canvas = document.createElement("canvas"), index = target;
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take([new File([blob], "camera.jpg", { type: "image/jpeg" })], index), "image/jpeg", 0.95);
  byId("camera").close();
});
byId("camera-close").addEventListener("click", () => byId("camera").close());
byId("camera").addEventListener("close", () => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  focusOn(target, "camera");
});

// --- the request ----------------------------------------------------------------------------------------------------
byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const here = photos.filter(Boolean);
  if (here.length < 2) return;
  photos = here;
  drawSlots();
  complain("");
  hideResult();
  const size = here.reduce((sum, photo) => sum + photo.size, 0), most = limits.request_bytes - FORM_BYTES;
  if (size > most) {
    say("");
    complain(`The photos have ${megabytes(size)} MB together, and the limit is ${megabytes(most)} MB. Remove some, or save them smaller.`);
    return;
  }
  const mine = (asking = new AbortController());
  byId("compare").disabled = true;
  byId("form").setAttribute("aria-busy", "true");
  say(`Comparing ${here.length} photos …`, true);
  let end;
  try {
    const found = await ask(here, mine.signal);
    end = () => show(found);
  } catch (error) {
    end = () => fail(error);
  }
  if (asking !== mine) return; // the photos were changed meanwhile
  settle();
  end();
});

// From now on no request is in work; the answer to one that was is not shown.
function settle() {
  asking?.abort();
  asking = null;
  byId("form").removeAttribute("aria-busy");
  byId("compare").disabled = photos.filter(Boolean).length < 2;
}

async function ask(files, signal) {
  for (let attempt = 1; ; attempt += 1) {
    const form = new FormData();
    files.forEach((file) => form.append("photos", file, "photo"));
    form.append("saliency", "true");
    let response;
    try {
      response = await fetch("/v1/compare", { method: "POST", body: form, signal });
    } catch {
      throw { message: "The server does not answer. Check that it runs and that you are connected, then press Compare again." };
    }
    if (response.ok) return response.json();
    const said = await response.json().then((body) => body.error, () => ({}));
    const wait = Number(response.headers.get("retry-after"));
    if (!wait || attempt >= TRIES) throw { message: said.message ?? `The server answered with ${response.status}.`, photo: said.photo };
    for (let left = wait; left > 0; left -= 1) {
      if (signal.aborted) return null;
      say(`${said.message} Attempt ${attempt + 1} of ${TRIES} in ${left} s.`, true);
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

function fail(error) {
  say("");
  const slot = error.photo ? document.querySelector(`.slot[data-index="${error.photo - 1}"]`) : null;
  complain(slot ? `${titleOf(error.photo - 1)}: ${error.message}` : error.message);
  if (!slot) return;
  slot.classList.add("invalid");
  slot.querySelector(".fault").hidden = false;
  slot.querySelector(".fault").textContent = "This photo cannot be used.";
  focusOn(error.photo - 1, "choose");
}

// --- the answer -----------------------------------------------------------------------------------------------------
const digits = (value) => (Math.abs(value) >= 10 ? 1 : 2);
const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(digits(value));
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
const megabytes = (bytes) => Math.ceil(bytes / 1e6);
const percent = (share) => `${+(100 * share).toFixed(1)}\u00a0%`;
const MARKS = { increase: "▲ Increase", decrease: "▼ Decrease", "cannot tell": "? Cannot tell" };

function hideResult() {
  settle();
  byId("result").hidden = true;
  answer = null;
}

function show(found) {
  answer = found;
  const changes = Object.entries(found.changes);
  const clear = changes.filter(([, change]) => change.verdict !== "cannot tell");
  const unclear = changes.filter((entry) => !clear.includes(entry));
  const line = found.time_line ?? [], refused = Boolean(found.caveats?.refused);
  const nothing = refused && line.every((step) => step.from_first.caveats?.refused);
  byId("result-title").textContent = nothing
    ? "These photos cannot be compared"
    : refused
      ? `Photo ${line.length + 1} cannot be compared with photo 1; earlier photos can`
    : clear.length
      ? clear.map(([task, change]) => `${change.title || task}: ${change.verdict}`).join("; ")
      : "Cannot tell whether anything changed";
  byId("pair").replaceChildren(...pairNote(found));
  byId("result").hidden = false; // before the charts, which take its width
  byId("faces").replaceChildren(...faces(found.photos ?? []));
  byId("changes").replaceChildren(...(nothing ? [] : [...clear, ...unclear].map(([task, change]) => row(task, change, found))));
  byId("remarks").replaceChildren(...remarks(found));
  say("The result is below.");
  byId("result-title").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

// Why the pair as a whole cannot be trusted; said once, not once per quantity.
function pairNote(found) {
  const reasons = found.caveats?.reasons ?? [];
  if (!reasons.length) return [];
  const list = make("ul", {}, ...reasons.map((reason) => make("li", {}, sentence(reason.sentence))));
  const pair = found.time_line ? `photos 1 and ${found.time_line.length + 1}` : "this pair";
  const lead = found.caveats.refused
    ? `No interval and no verdict is given for ${pair}, because:`
    : "Read the result with care:";
  return [make("div", { class: found.caveats.refused ? "alert" : "note" }, make("p", {}, make("strong", {}, lead)), list)];
}

// Reasons that hold for this quantity alone. That the interval contains zero is in the line with the figures.
function ownReasons(change, found) {
  const shared = new Set((found.caveats?.reasons ?? []).map((reason) => reason.code));
  const codes = change.codes ?? [];
  return change.reasons.filter((_, index) => !shared.has(codes[index]) && !["rehearsal", "contains_zero"].includes(codes[index]));
}

function row(task, change, found) {
  const steps = (found.time_line ?? []).map((step) => step.from_first.changes[task]).filter(Boolean);
  const reasons = ownReasons(change, found);
  const item = make(
    "li",
    { class: `change ${change.verdict.replace(" ", "-")}` },
    make("div", { class: "head" }, make("h3", {}, change.title || task), make("span", { class: "verdict" }, MARKS[change.verdict])),
    steps.length > 1 ? trend(steps) : bar(change),
    make("p", { class: "figure" }, figures(change)),
  );
  if (reasons.length) item.append(make("ul", {}, ...reasons.map((reason) => make("li", {}, sentence(reason)))));
  if (steps.length > 1) item.append(make("details", {}, make("summary", {}, "Figures of each photo"), stepsTable(steps)));
  return item;
}

function figures(change) {
  const estimate = `Estimate ${signed(change.change)} ${change.unit}`;
  if (!change.interval) return `${estimate}, without a prediction interval.`;
  const [low, high] = change.interval, zero = low <= 0 && high >= 0 ? ", which contains zero" : "";
  return `${estimate}; ${percent(change.coverage)} prediction interval ${signed(low)} to ${signed(high)}${zero}.`;
}

// Zero is in the middle of each bar, because quantities have different units. The text below it says the same.
function bar(change) {
  const ends = [change.change, ...(change.interval ?? [])];
  const reach = 1.1 * Math.max(...ends.map(Math.abs), 1e-6), place = (value) => `${50 + (50 * value) / reach}%`;
  const part = (name, left, right) => {
    const element = make("i", { class: name });
    element.style.left = place(left);
    if (right !== undefined) element.style.width = `${(50 * (right - left)) / reach}%`;
    return element;
  };
  const parts = [part("zero", 0), part("dot", change.change)];
  if (change.interval) parts.unshift(part("range", ...change.interval));
  return make("div", { class: "bar", "aria-hidden": "true" }, ...parts);
}

// Each photo against the first one. Its figures are in the table below it.
function trend(steps) {
  const all = [0, ...steps.flatMap((step) => [step.change, ...(step.interval ?? [])])];
  const low = Math.min(...all), high = Math.max(...all), span = high - low || 1;
  const width = Math.max(240, byId("changes").clientWidth - 40);
  const x = (index) => 56 + (index * (width - 76)) / steps.length, y = (value) => 92 - (80 * (value - low)) / span;
  const svg = make("svg", { viewBox: `0 0 ${width} 116`, "aria-hidden": "true" });
  svg.append(make("line", { class: "axis", x1: 48, x2: width, y1: y(0), y2: y(0) }));
  const labels = [low, 0, high].filter((value, index, list) => index === 1 || Math.abs(y(value) - y(0)) > 12);
  for (const value of labels) svg.append(make("text", { x: 42, y: y(value) + 4, "text-anchor": "end" }, value ? signed(value) : "0"));
  const points = [{ change: 0 }, ...steps];
  points.forEach((step, index) => {
    if (step.interval) svg.append(make("line", { class: "whisker", x1: x(index), x2: x(index), y1: y(step.interval[0]), y2: y(step.interval[1]) }));
  });
  svg.append(make("polyline", { class: "line", points: points.map((step, index) => `${x(index)},${y(step.change)}`).join(" ") }));
  points.forEach((step, index) => {
    svg.append(make("circle", { class: "point", cx: x(index), cy: y(step.change), r: 5 }), make("text", { x: x(index), y: 112, "text-anchor": "middle" }, `${index + 1}`));
  });
  return svg;
}

function stepsTable(steps) {
  const head = ["photo", "change", "interval", "verdict"].map((name) => make("th", { scope: "col" }, name));
  const rows = steps.map((step, index) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, String(index + 2)),
      make("td", {}, signed(step.change)),
      make("td", {}, step.interval ? `${signed(step.interval[0])} … ${signed(step.interval[1])}` : "–"),
      make("td", {}, step.verdict),
    ),
  );
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

function remarks(found) {
  const said = [`Model ${found.model}. The change is that from the first photo to the last.`];
  if (found.time_line) said.push("In the charts, each photo is compared with the first one; a bar is its prediction interval.");
  said.push(...earlierCaveats(found));
  const pairs = [found, ...(found.time_line ?? []).map((step) => step.from_first)];
  if (pairs.some((each) => Object.values(each.changes).some((change) => change.interval))) {
    said.push("A prediction interval contains the true change of a new person with the stated probability, for photos like those the model was fitted on.");
  }
  return said.map((text) => make("p", { class: "soft" }, text));
}

// The pair note is about the last photo; here is what limits the photos between it and the first, and is not in it.
function earlierCaveats(found) {
  const told = new Set((found.caveats?.reasons ?? []).map((reason) => reason.sentence));
  return (found.time_line ?? []).slice(0, -1).flatMap((step) => {
    const fresh = (step.from_first.caveats?.reasons ?? []).filter((reason) => !told.has(reason.sentence));
    const lead = step.from_first.caveats?.refused ? "without interval and verdict: " : "";
    return fresh.length ? [`Photos 1 and ${step.photo}: ${lead}${fresh.map((reason) => reason.sentence).join("; ")}.`] : [];
  });
}

function faces(pictures) {
  if (!pictures.length) return [];
  const cells = pictures.map((each, index) => {
    const title = titleOf(index);
    return make(
      "div",
      {},
      make("p", {}, title),
      make("img", { src: each.face, alt: `Aligned face: ${title}`, width: 320, height: 320 }),
      make("p", { class: "hidden" }, "Saliency map"),
      make("img", { src: each.saliency, alt: `Saliency map: ${title}`, width: 320, height: 320 }),
    );
  });
  return [
    make("div", { class: "grid" }, ...cells),
    make(
      "figcaption",
      {},
      "Above: the face as the model sees it. Below: where the network responds most (Eigen-CAM); each map is scaled on its own.",
      make("span", { class: "scale" }, "weak", make("i", {}), "strong"),
    ),
  ];
}

byId("print").addEventListener("click", () => window.print());
byId("save").addEventListener("click", () => {
  const { photos: _, ...figures } = answer; // without the faces
  const link = make("a", { download: "comparison.json", href: URL.createObjectURL(new Blob([JSON.stringify(figures, null, 1)], { type: "application/json" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say("The figures were saved, without the photos.");
});

// --- the model ------------------------------------------------------------------------------------------------------
async function loadModel() {
  let facts;
  try {
    const response = await fetch("/v1/model");
    if (response.status === 503) {
      byId("model-line").textContent = "The model is being loaded …";
      setTimeout(loadModel, 1000);
      return;
    }
    facts = await response.json();
  } catch {
    byId("model-line").textContent = "The server does not answer. Check that it runs, then load this page again.";
    return;
  }
  limits = facts.limits ?? limits;
  byId("rehearsal").hidden = !facts.rehearsal;
  byId("model-line").textContent = `${facts.reference}, sha256 ${facts.sha256.slice(0, 12)}…, ${Object.keys(facts.tasks).length} tasks`;
  byId("card").textContent = facts.card;
  byId("inputs").replaceChildren(...Object.entries(facts.inputs).flatMap(([name, hash]) => [make("dt", {}, name), make("dd", {}, hash)]));
  byId("tasks").replaceChildren(tasksTable(facts.tasks));
}

function tasksTable(tasks) {
  const number = { class: "number" };
  const head = make(
    "tr", {}, make("th", { scope: "col" }, "task"), make("th", { scope: "col", ...number }, "correlation"),
    make("th", { scope: "col", ...number }, "mean error"), make("th", { scope: "col" }, "unit"),
    make("th", { scope: "col", ...number }, "people"), make("th", { scope: "col" }, "data"),
  );
  const rows = Object.entries(tasks).map(([name, task]) =>
    make(
      "tr", {}, make("th", { scope: "row" }, task.title || name), make("td", number, task.corr?.toFixed(2) ?? "–"),
      make("td", number, task.mae?.toFixed(2) ?? "–"), make("td", {}, task.unit), make("td", number, String(task.subjects)),
      make("td", {}, `${task.dataset} `, ...(task.rehearsal ? [make("span", { class: "badge" }, "rehearsal")] : [])),
    ),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

drawSlots();
loadModel();
