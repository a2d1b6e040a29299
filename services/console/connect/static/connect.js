// Opens Meta's dialog and hands on what it says. Message and code come in either order. The code is
// sent as it comes, for it lives 30 seconds; messages are sent one after another.
"use strict";

const facts = JSON.parse(document.getElementById("connect").dataset.facts);
const words = facts.words;
const byId = (id) => document.getElementById(id);
const STEPS = ["login", "prove", "setup", "done"];
const MIN_POLL_MS = 1000;
const MAX_POLL_MS = 5000;
const MAX_TRIES = 8;
const MAX_REPORT_MS = 10000;

// What the server told last; it says what the page shows, and whether to look again.
let latest = facts.status;
// What the customer does at this moment: nothing, being asked, logging in at Meta ("away"), or being
// held up by a browser that opens no window.
let phase = "idle";
// Meta's script, which opens its window: not needed yet, "loading", "ready", or "away" because the
// browser blocks it. A redirect needs none.
let script = "";

function show() {
  if (latest.is_popup && !script) loadScript();
  byId("go").disabled = latest.is_popup && script === "loading";
  const reached = STEPS.indexOf(latest.step);
  STEPS.slice(0, -1).forEach((step, at) => {
    const item = byId(`step-${step}`);
    item.dataset.state = at < reached ? "done" : at === reached ? "now" : "";
    if (at === reached) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
  const isDone = latest.step === "done";
  byId("heading").textContent = isDone ? words.done_heading : words.heading;
  if (phase === "away") tell(words.waiting, "");
  else if (phase === "blocked") tell(words.blocked, "trouble");
  else tell(textOf(latest), latest.is_trouble ? "trouble" : isDone ? "done" : "");
  byId("intro").hidden = !latest.may_start;
  byId("begin").hidden = !latest.may_start || phase !== "idle";
  byId("ask").hidden = !latest.may_start || phase !== "asked";
  byId("instead").hidden = !latest.may_start || !["away", "blocked"].includes(phase);
  byId("instead").className = phase === "blocked" ? "primary" : "";
  showPin();
  showChoices();
  byId("back").className = isDone ? "primary" : "";
  if (latest.looks_again) look();
}

function textOf(status) {
  let text = status.text || "";
  if (status.goes_on_at) {
    const format = new Intl.DateTimeFormat(document.documentElement.lang, {
      dateStyle: "short", timeStyle: "short",
    });
    text += ` ${words.next_try.replace("{time}", format.format(new Date(status.goes_on_at)))}`;
  }
  return status.step === "done" && !facts.has_return_url ? `${text} ${words.close}` : text;
}

function showPin() {
  const pin = byId("pin");
  pin.hidden = !latest.needs_pin;
  if (latest.needs_pin) {
    pin.querySelector("label").textContent =
      words.pin_of.replace("{number}", `+${latest.pin_of}`).replace("{tries}", latest.pin_tries_left);
  }
}

function showChoices() {
  const choice = byId("choice");
  choice.hidden = !latest.choices.length;
  const shown = latest.choices.map((one) => one.waba_id).join();
  if (choice.dataset.shown === shown) return;
  choice.dataset.shown = shown;
  byId("choices").replaceChildren(...latest.choices.map((one) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "waba", value: one.waba_id, required: true });
    const name = document.createElement("span");
    name.textContent = one.name || one.waba_id;
    const id = document.createElement("small");
    id.textContent = one.name ? one.waba_id : "";
    label.append(input, name, id);
    return label;
  }));
}

function tell(text, kind) {
  byId("told").textContent = text;
  byId("told").dataset.kind = kind;
}

function enter(next) {
  phase = next;
  show();
}

function fail(text) {
  tell(text, "trouble");
  byId("again").hidden = false;
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

let isLooking = false;

async function look() {
  if (isLooking) return;
  isLooking = true;
  let ms = MIN_POLL_MS;
  do {
    await pause(ms);
    ms = Math.min(ms * 1.2, MAX_POLL_MS);
    try {
      const answer = await fetch(`/connect/${encodeURIComponent(facts.tracking_code)}/status`);
      if (answer.ok) {
        latest = await answer.json();
        show();
      } else ms = MAX_POLL_MS;
    } catch (error) {
      ms = MAX_POLL_MS; // the network
    }
  } while (latest.looks_again);
  isLooking = false;
}

async function send(what, body) {
  const path = `/connect/${encodeURIComponent(facts.tracking_code)}/${what}`;
  const headers = { "Content-Type": "application/json" };
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    let ms = MIN_POLL_MS;
    try {
      const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
      if (answer.ok || answer.status === 409) { // 409: refused, with the reason in words
        latest = await answer.json();
        enter(isOver(what, body) ? "idle" : phase);
        return;
      }
      if (answer.status < 500 && answer.status !== 429) {
        fail(words.failed);
        return;
      }
      ms = Math.min(1000 * (answer.headers.get("Retry-After") || 1), MAX_POLL_MS);
    } catch (error) {
      // The network: try again.
    }
    await pause(ms);
  }
  fail(words.unreachable);
}

// What comes of the last message is what the page shows. A message that gets no answer holds the
// next one up for a while only.
let reported = Promise.resolve();

function report(event, data) {
  reported = reported.then(() => Promise.race([
    send("session", { event, data }), pause(MAX_REPORT_MS),
  ]));
}

// After the message of a finished dialog its code is still to come.
function isOver(what, body) {
  return what !== "session" || !body.event.startsWith("FINISH");
}

// By exact host: "endsWith('facebook.com')" would let evilfacebook.com speak.
function isMeta(origin) {
  return facts.meta_origins.includes(origin) || origin === "https://web.facebook.com";
}

window.addEventListener("message", (message) => {
  if (!isMeta(message.origin)) return;
  let data = message.data;
  try {
    data = typeof data === "string" ? JSON.parse(data) : data;
  } catch (error) {
    return;
  }
  if (data && data.type === "WA_EMBEDDED_SIGNUP" && typeof data.event === "string") {
    report(data.event, data.data || {});
  }
});

byId("pin").addEventListener("submit", (event) => {
  event.preventDefault();
  const digits = byId("pin-digits");
  send("pin", { pin: digits.value, digits: latest.pin_of });
  digits.value = "";
});

byId("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  send("waba", { waba_id: new FormData(event.target).get("waba") });
});

byId("start").addEventListener("click", () => {
  enter("asked");
  byId("ask-heading").focus();
});

byId("not-now").addEventListener("click", () => {
  enter("idle");
  byId("start").focus();
});

byId("same-window").href = facts.dialog_url;

byId("go").addEventListener("click", () => {
  if (!latest.is_popup || script === "away") {
    window.location.assign(facts.dialog_url);
    return;
  }
  enter("away");
  if (openPopup()) enter("blocked");
});

// Returns whether the browser refused to open the window, as it does inside other apps.
function openPopup() {
  const open = window.open;
  let opened;
  window.open = (...given) => {
    opened = open.apply(window, given);
    return opened;
  };
  try {
    window.FB.login((response) => {
      const code = response.authResponse && response.authResponse.code;
      if (code) send("code", { code });
      else if (opened && phase === "away") report("CODE_MISSING", {});
    }, facts.options);
  } finally {
    window.open = open;
  }
  return opened === null;
}

byId("pin-digits").addEventListener("invalid", (event) => {
  event.target.setCustomValidity(words.six_digits);
});
byId("pin-digits").addEventListener("input", (event) => event.target.setCustomValidity(""));

function loadScript() {
  script = "loading";
  window.fbAsyncInit = () => {
    window.FB.init({ appId: facts.app_id, version: facts.graph_version, xfbml: false });
    script = "ready";
    show();
  };
  const sdk = document.createElement("script");
  sdk.src = facts.sdk_url;
  sdk.async = true;
  sdk.onerror = () => { // a blocker: the dialog needs no script of Meta's in this window
    script = "away";
    show();
  };
  document.head.append(sdk);
}

show();
