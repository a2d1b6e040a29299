// A stand-in for Meta's JavaScript SDK: FB.init, and FB.login with a configuration of
// Facebook Login for Business (Embedded Signup implementation, Mar 2026).
(function () {
  "use strict";

  const META = new URL(document.currentScript.src).origin;
  const CLOSED_CHECK_MS = 500;
  let appId = "";

  function init(options) {
    appId = String((options || {}).appId || "");
  }

  function login(callback, options) {
    const asked = options || {};
    const query = new URLSearchParams({
      client_id: appId,
      config_id: String(asked.config_id || ""),
      response_type: String(asked.response_type || ""),
      extras: JSON.stringify(asked.extras || {}),
      origin: window.location.origin,
    });
    const popup = window.open(`${META}/dialog/popup?${query}`, "simulated-meta", "width=560,height=680");
    if (!popup) {
      callback({ authResponse: null, status: "unknown" });
      return;
    }

    let isOver = false;
    function finish(code) {
      if (isOver) {
        return;
      }
      isOver = true;
      window.removeEventListener("message", hear);
      window.clearInterval(watch);
      const isIn = typeof code === "string";
      callback({
        authResponse: isIn ? { code: code } : null,
        status: isIn ? "connected" : "unknown",
      });
    }

    function hear(event) {
      const isOurs = event.origin === META && event.source === popup;
      if (isOurs && event.data && event.data.type === "simulated_meta_login") {
        finish(event.data.code);
      }
    }

    // A popup closed by hand says nothing; what one said just before it closed comes first.
    const watch = window.setInterval(function () {
      if (popup.closed) {
        window.clearInterval(watch);
        window.setTimeout(finish, CLOSED_CHECK_MS, null);
      }
    }, CLOSED_CHECK_MS);
    window.addEventListener("message", hear);
  }

  window.FB = { init: init, login: login };
  if (typeof window.fbAsyncInit === "function") {
    window.fbAsyncInit();
  }
})();
