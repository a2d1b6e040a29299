// Opens Meta's dialog and hands on what it says. Message and code come in either order; each is
// sent as it comes, for the code lives 30 seconds.
"use strict";

const facts = JSON.parse(document.getElementById("connect").dataset.facts);
const button = document.getElementById("start");
const told = document.getElementById("told");
const pin = document.getElementById("pin");
const STEPS = ["login", "prove", "setup", "done"];
const MIN_POLL_MS = 1000;
const MAX_POLL_MS = 5000;
const MAX_TRIES = 8;

// What the server told last; it says what the page shows, and whether to look again.
let latest = facts.status;

function show() {
  const reached = STEPS.indexOf(latest.step);
  STEPS.slice(0, -1).forEach((step, at) => {
    const state = at < reached ? "done" : at === reached ? "now" : "";
    document.getElementById(`step-${step}`).dataset.state = state;
  });
  tell(latest.text || "", latest.is_trouble ? "trouble" : latest.step === "done" ? "done" : "");
  button.hidden = !latest.may_start;
  button.disabled = !latest.may_start || !isReady;
  pin.hidden = !latest.needs_pin;
  if (latest.looks_again) look();
}

function tell(text, kind) {
  told.textContent = text;
  told.dataset.kind = kind;
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
      if (answer.ok) {
        latest = await answer.json();
        show();
        return;
      }
      if (answer.status < 500 && answer.status !== 429) {
        tell("That did not work. Reload the page and try again.", "trouble");
        return;
      }
      ms = Math.min(1000 * (answer.headers.get("Retry-After") || 1), MAX_POLL_MS);
    } catch (error) {
      // The network: try again.
    }
    await pause(ms);
  }
  tell("We could not be reached. Reload the page and try again.", "trouble");
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
    send("session", { event: data.event, data: data.data || {} });
  }
});

pin.addEventListener("submit", (event) => {
  event.preventDefault();
  const digits = document.getElementById("pin-digits");
  send("pin", { pin: digits.value });
  digits.value = "";
});

let isReady = facts.flow === "redirect";

button.addEventListener("click", () => {
  if (facts.flow === "redirect") {
    window.location.assign(facts.dialog_url);
    return;
  }
  window.FB.login((response) => {
    const code = response.authResponse && response.authResponse.code;
    if (code) send("code", { code });
  }, facts.options);
});

if (facts.flow !== "redirect") {
  window.fbAsyncInit = () => {
    window.FB.init({ appId: facts.app_id, version: facts.graph_version, xfbml: false });
    isReady = true;
    button.disabled = button.hidden;
  };
  const sdk = document.createElement("script");
  sdk.src = facts.sdk_url;
  sdk.async = true;
  sdk.onerror = () => {
    if (button.hidden) return; // nobody needs it any more
    tell("Meta's login could not be loaded. Is a blocker switched on?", "trouble");
  };
  document.head.append(sdk);
}
show();
