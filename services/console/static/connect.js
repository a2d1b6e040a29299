// Opens Meta's dialog and hands on what it says. Message and code come in either order; each is
// sent as it comes, for the code lives 30 seconds.
"use strict";

const facts = JSON.parse(document.getElementById("connect").dataset.facts);
const button = document.getElementById("start");
const told = document.getElementById("told");
const pin = document.getElementById("pin");
const POLL_MS = 1000;
const FINISHED = ["active"];
const UNDER_WAY = ["exchanging", "proving"];

function mark(id, state) {
  document.getElementById(id).dataset.state = state;
}

function show(status) {
  const isProven = !["open", "cancelled", "expired"].includes(status.state);
  const isUnderWay = isProven || UNDER_WAY.includes(status.reason);
  mark("step-login", isUnderWay ? "done" : "now");
  mark("step-prove", isProven ? "done" : isUnderWay ? "now" : "");
  mark("step-setup", FINISHED.includes(status.state) ? "done" : isProven ? "now" : "");
  const isDone = FINISHED.includes(status.state);
  told.textContent = isDone ? "Your account is connected. You can close this page." : status.text || "";
  told.dataset.kind = isDone ? "done" : isUnderWay && !isProven ? "" : "trouble";
  const isOver = isUnderWay || ["cancelled", "expired"].includes(status.state);
  button.disabled = isOver || !isReady;
  button.hidden = isOver;
  pin.hidden = status.reason !== "pin_needed";
  return isUnderWay && !isDone;
}

async function poll() {
  const answer = await fetch(`/connect/${encodeURIComponent(facts.tracking_code)}/status`);
  if (answer.ok && !show(await answer.json())) return;
  setTimeout(() => poll().catch(later), POLL_MS);
}

function later() {
  setTimeout(() => poll().catch(later), 5 * POLL_MS);
}

async function send(what, body) {
  const path = `/connect/${encodeURIComponent(facts.tracking_code)}/${what}`;
  const headers = { "Content-Type": "application/json" };
  for (let tries = 0; tries < 3; tries += 1) {
    try {
      const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
      if (answer.status < 500) {
        if (!answer.ok) {
          told.textContent = "That did not work. Reload the page and try again.";
          told.dataset.kind = "trouble";
        } else if (show(await answer.json())) poll().catch(later);
        return;
      }
    } catch (error) {
      // The network: try again.
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
  told.textContent = "We could not be reached. Reload the page and try again.";
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
    told.textContent = "Meta's login could not be loaded. Is a blocker switched on?";
    told.dataset.kind = "trouble";
  };
  document.head.append(sdk);
}
if (show(facts.status)) poll().catch(later);
